"""Which files hold audio, and where; files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
"""What is taken for a recording where a folder is searched."""


def find_files(folder: Path, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> list[Path]:
    """All files below a folder with one of these suffixes, in any case, sorted.

    Names with a dot in front are left out: they are no recordings but what systems and editors leave behind.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and not path.name.startswith("."))
    return sorted(path for path in found if not path.is_dir())


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives the name of a temporary file beside `path`; once the block has written it, it takes the place of `path`."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
