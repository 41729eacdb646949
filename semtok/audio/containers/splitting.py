"""Cuts a file into parts that libsndfile reads whole, by what its container says."""

from __future__ import annotations

import os
from typing import BinaryIO

from semtok.audio.containers.headers import check_size
from semtok.audio.containers.mpeg import split_mpeg
from semtok.audio.containers.ogg import split_ogg
from semtok.audio.containers.parts import Part, Spliced

# Bytes that a decoder of FLAC reads ahead, at most.
_FLAC_AHEAD = 1 << 15


def split(file: BinaryIO, name: str) -> list[Part]:
    """The parts of an open file, one after the other; a single one, the file itself, where nothing is wrong with it.

    Raises:
        AudioError: the file was cut, or holds bytes after its audio that nothing explains; `name` is what it calls it.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic = file.read(4)
    if magic == b"OggS":
        parts = split_ogg(file, size, name)
    elif magic in (b"RIFF", b"RF64", b"FORM", b"riff", b".snd", b"NIST"):
        parts = check_size(file, size, magic, name)
    elif magic in (b"fLaC", b"caff"):
        parts = []
    else:
        parts = split_mpeg(file, size)
    return parts or [Part(Spliced(file, 0, size))]


def flac_follows(file: Spliced) -> bool:
    """Whether a second FLAC stream begins about where the decoder of the first one stopped to read."""
    file.seek(max(4, file.tell() - _FLAC_AHEAD))
    return b"fLaC\x00\x00\x00\x22" in file.read(2 * _FLAC_AHEAD)
