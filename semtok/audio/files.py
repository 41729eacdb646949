"""Which files hold audio, and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
"""What is taken for a recording where a folder is searched."""


def find_files(folder: Path, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> list[Path]:
    """All files below a folder with one of these suffixes, in any case, sorted.

    Names with a dot in front are left out: they are no recordings but what systems and editors leave behind.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and not path.name.startswith("."))
    return sorted(path for path in found if not path.is_dir())
