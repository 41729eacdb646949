"""Formats that libsndfile does not read, and the command that converts them."""

from __future__ import annotations

import shlex
from pathlib import Path

_FOREIGN = {
    b"\x1aE\xdf\xa3": "WebM or Matroska",
    b"\x30\x26\xb2\x75": "Windows Media (WMA)",
    b"#!AMR": "AMR",
    b"ADIF": "AAC",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
    b"FLV": "Flash video",
    b"\x0b\x77": "AC-3",
    b"ajkg": "Shorten",
    b"OggS": "Ogg of another kind than Vorbis and Opus, such as FLAC or Speex",
}


def foreign_format(head: bytes) -> str | None:
    """Which format that libsndfile does not read begins with these bytes."""
    if head[4:8] == b"ftyp":
        return "MP4 (M4A, AAC)"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC"
    return next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), None)


def convert_command(name: str, *options: str) -> str:
    """The command that makes a WAV of a file."""
    return shlex.join(["ffmpeg", "-i", path_or_input(name), *options, "converted.wav"])


def path_or_input(name: str) -> str:
    """What a command that is shown names: the file, where it has a path."""
    return name if Path(name).exists() else "INPUT"
