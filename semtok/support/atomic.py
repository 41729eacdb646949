"""Files and folders that appear whole or not at all, whoever else writes them at the same time."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import SoftFileLease

# With the rest of a temporary name, fewer than the 143 that the strictest file system in use (eCryptfs) allows.
_STEM_BYTES = 100
# What a process that was killed left half-written is removed once it can be nobody's any more.
_LEFTOVER_SECONDS = 24 * 3600


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives the path of a temporary file beside `path`; once the block has written it, it takes the place of `path`.

    Its name, `.NAME.RANDOM.tmp` with the beginning of the target's name, is nobody else's: threads, processes and
    machines may write the same target, and the last to finish wins. It is on the target's file system, where a rename
    is atomic. Permissions are those of the file that is replaced, or as the umask says for a new one.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        with suppress(FileNotFoundError):  # there is nothing to replace
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives the path of a new folder; once the block has filled it, it becomes the folder `path`.

    Where `path` is there already, empty, the new folder lies in it, and what is in the new folder moves up at the end:
    somebody's working directory, or a mount point, cannot be replaced.
    """
    there = path.exists()
    temporary = _temporary(path / path.absolute().name if there else path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if there:
            for entry in temporary.iterdir():
                os.replace(entry, path / entry.name)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_once(path: Path, text: str) -> bool:
    """Writes a text file, whole or not at all, unless there is one: whether it did. Of several writers one succeeds."""
    with lease(path):
        if path.exists():
            return False
        with atomic_write(path) as aside:
            aside.write_text(text, encoding="utf-8")
    return True


def lease(path: Path) -> SoftFileLease:
    """A lock on the work of writing `path`, as a context, for one process of all that see the folder.

    The lock is the file `.NAME.lock`, which every file system can make once, even one without hard links and locks of
    its own. The owner renews it while it lives. The lock of a process that was killed goes to the next that wants it,
    at once on the same machine and after half a minute on another.
    """
    from filelock import SoftFileLease

    return SoftFileLease(path.with_name(f".{_stem(path)}.lock"), thread_local=False)


def remove_leftovers(*folders: Path) -> None:
    """Removes what processes that were killed long ago left in these folders: half-written files, and locks."""
    for path in (path for folder in folders for kind in (".*.tmp", ".*.lock") for path in folder.glob(kind)):
        with suppress(FileNotFoundError):  # its writer renamed it, or another process removed it
            if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{_stem(path)}.{secrets.token_hex(8)}.tmp")


def _stem(path: Path) -> str:
    return os.fsencode(path.name)[:_STEM_BYTES].decode(errors="ignore")
