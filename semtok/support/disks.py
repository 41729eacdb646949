"""Full disks, told as such."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semtok.errors import SemtokError

# Libraries such as torch say no more than that writing failed: the disk is then full if it has less room than this.
_FULL_BYTES = 1 << 24


@contextmanager
def full_disk(folder: Path, kind: type[SemtokError]) -> Iterator[None]:
    """Turns the errors of a full disk into one of this kind, which says so and names the folder."""
    try:
        yield
    except SemtokError:
        raise
    except Exception as error:
        if isinstance(error, OSError):
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        else:
            full = folder.exists() and shutil.disk_usage(folder).free < _FULL_BYTES
        if not full:
            raise
        raise kind(
            f"the disk of {folder} is full. What was written is whole: make room, run again, and it goes on"
        ) from error
