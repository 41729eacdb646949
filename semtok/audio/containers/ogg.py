"""Ogg: pages, RFC 3533, and streams that follow each other."""

from __future__ import annotations

from typing import BinaryIO

from semtok.audio.containers.foreign import convert_command
from semtok.audio.containers.parts import Part, Spliced, read_bytes
from semtok.errors import AudioError


def split_ogg(file: BinaryIO, size: int, name: str) -> list[Part]:
    """One part a link of a chain: streams that follow each other, each with its own headers."""
    starts, begun, position = [], False, 0
    while position < size:
        header = read_bytes(file, position, position + 27)
        length = len(header)
        if length == 27 and header.startswith(b"OggS"):
            segments = file.read(header[26])
            length += len(segments) + sum(segments)
        if not header.startswith(b"OggS"[: len(header)]):
            break  # libsndfile looks for the next page, and what is lost shows in the samples read
        if position + length > size or len(header) < 27:
            raise AudioError(
                f"{name} was cut: it ends within a page of Ogg, at byte {size}. "
                f"Fetch it again, or take what is there: {convert_command(name)}"
            )
        first = bool(header[5] & 2)
        if first and not begun:
            starts.append(position)
        begun = first
        position += length
    if len(starts) < 2:
        return []
    return [Part(Spliced(file, start, end)) for start, end in zip(starts, [*starts[1:], size], strict=True)]
