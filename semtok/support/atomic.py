"""Files that appear whole or not at all, whoever else writes them at the same time."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# With the rest of a temporary name, fewer than the 143 that the strictest file system in use (eCryptfs) allows.
_STEM_BYTES = 100


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


def write_once(path: Path, text: str) -> bool:
    """Writes a text file, whole or not at all, unless there is one: whether it did. Of several writers one succeeds."""
    temporary = _temporary(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        os.link(temporary, path)  # which, unlike a rename, fails if there is one
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _temporary(path: Path) -> Path:
    stem = os.fsencode(path.name)[:_STEM_BYTES].decode(errors="ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(8)}.tmp")
