"""Sizes in the header of a WAV, RF64, AIFF, Wave64, AU or SPHERE file: are they true?"""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Iterator
from typing import BinaryIO

from semtok.audio.containers.foreign import convert_command, path_or_input
from semtok.audio.containers.parts import Part, Spliced, read_bytes
from semtok.errors import AudioError

# Sizes that recorders write while they do not know the length: 0xFFFFFFFF, 0x7FFFF000, 0x7F000008 and so on.
_UNKNOWN = 0x7F000000
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")
# Bytes after the audio that no chunk explains: fewer are left-overs of a tag or of a disk's block.
_UNEXPLAINED = 4096
_BLOCK = 1 << 20


def check_size(file: BinaryIO, size: int, magic: bytes, name: str) -> list[Part]:
    """Nothing where the header tells the truth; the file with another header where it does not know the size."""
    if magic in (b"RIFF", b"RF64"):
        return _check_riff(file, size, name, long=magic == b"RF64")
    file.seek(0)
    head = file.read(min(size, 1 << 16))
    if magic == b".snd":
        start, stated = struct.unpack_from(">II", head.ljust(12, b"\0"), 4)
        if stated == 0 < size - start:
            return [Part(Spliced(file, 12, size, head=head[:8] + b"\xff" * 4))]
    elif magic == b"NIST":
        sizes = [
            re.search(rf"^{field}\s+-i\s+(\d+)".encode(), head, re.MULTILINE)
            for field in ("sample_count", "channel_count", "sample_n_bytes")
        ]
        length = re.match(rb"NIST_1A\s+(\d+)", head)
        if length is None or not all(sizes):
            return []
        start = int(length[1])
        stated = 1
        for number in sizes:
            stated *= int(number[1]) if number else 1
    else:
        form, large = (">4sI", False) if magic == b"FORM" else ("<16sq", True)
        chunks = _chunks(file, form, 40 if large else 12, size)
        sound = next((chunk for chunk in chunks if chunk[1][:4] in (b"SSND", b"data")), None)
        if sound is None:
            return []
        start, _, stated = sound
    _check_not_cut(stated, size - start, name)
    return []


def _check_riff(file: BinaryIO, size: int, name: str, *, long: bool) -> list[Part]:
    whole = 8 + int.from_bytes(read_bytes(file, 4, 8), "little")
    chunks = {chunk: (start, stated) for start, chunk, stated in _chunks(file, "<4sI", 12, size, last=b"data")}
    if b"data" not in chunks:
        return []
    start, stated = chunks[b"data"]
    available = size - start
    if long and b"ds64" in chunks and stated == 0xFFFFFFFF:
        sizes = chunks[b"ds64"][0]
        stated = int.from_bytes(read_bytes(file, sizes + 8, sizes + 16), "little")
        if stated == 0 < available or stated >= 1 << 62:
            head = read_bytes(file, 0, sizes + 8) + struct.pack("<Q", available) + read_bytes(file, sizes + 16, start)
            return [Part(Spliced(file, start, size, head=head))]
    elif stated == 0 and available > 0 and whole < size:
        # the recorder was killed before it wrote the sizes; an empty WAV with a chunk after its data has the right one
        head = read_bytes(file, 0, start - 4) + struct.pack("<I", min(available, 0xFFFFFFFF))
        return [Part(Spliced(file, start, size, head=head))]
    elif stated >= _UNKNOWN and stated > available:
        return []
    _check_not_cut(stated, available, name)
    _check_rest(file, start + stated, size, name)
    return []


def _chunks(
    file: BinaryIO, form: str, position: int, size: int, *, last: bytes = b""
) -> Iterator[tuple[int, bytes, int]]:
    """Where the content of each chunk starts, the chunk's name and the size that it states, up to the one named."""
    header = struct.calcsize(form)
    while position + header <= size:
        name, stated = struct.unpack(form, read_bytes(file, position, position + header))
        if header == 24:  # of Wave64, whose sizes have the header in them and go on at multiples of 8
            yield position + header, name, stated - header if 0 <= stated < 1 << 62 else 0xFFFFFFFF
            position += max(stated, header) + -stated % 8
        else:
            yield position + header, name, stated
            position += header + stated + stated % 2
        if name == last:
            return


def _check_not_cut(stated: int, available: int, name: str) -> None:
    if available < stated and (stated < _UNKNOWN or _UNKNOWN < available < stated < 0xFFFFFFF0):
        raise AudioError(
            f"{name} was cut: its header speaks of {stated} bytes of audio, it holds {max(available, 0)}. "
            f"Fetch it again, or take what is there: {convert_command(name)}"
        )


def _check_rest(file: BinaryIO, position: int, size: int, name: str) -> None:
    """Chunks, a tag or a few odd bytes may follow the audio of a WAV; more audio may not."""
    position += position % 2
    while size - position > _UNEXPLAINED:
        header = read_bytes(file, position, position + 8)
        chunk, stated = struct.unpack("<4sI", header)
        if header.startswith(_TAGS):
            return
        if not re.fullmatch(rb"[ -~]{4}", chunk) or chunk in (b"RIFF", b"RF64") or position + 8 + stated > size + 1:
            if not any(read_bytes(file, position, min(size, position + _BLOCK))):
                return
            mend = shlex.join(["sox", "--ignore-length", path_or_input(name), "mended.wav"])
            raise AudioError(
                f"{name} holds {size - position} bytes after its audio that its header knows nothing of. If they are "
                f"audio too, mend it: {mend}; else: {convert_command(name)}"
            )
        position += 8 + stated + stated % 2
