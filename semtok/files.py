"""Which files hold audio; files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
"""What is taken for a recording where a folder is searched."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives the name of a temporary file beside `path`; once the block has written it, it takes the place of `path`."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
