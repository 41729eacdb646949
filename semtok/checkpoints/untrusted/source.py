"""The file that is being read: its bytes, up to a bound, and errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semtok.errors import CheckpointError, SemtokError

# Of a file, and of what comes out of it decompressed. The largest k-means in use is some 100 MB.
MAX_BYTES = 1 << 30


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Errors raised in the block about the file at `path` name it, and are `CheckpointError`s if it cannot be read."""
    path = Path(path)
    try:
        yield path
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Whatever a library raises in the block, on the file that it was given, becomes a `CheckpointError` with its name.

    A file that was damaged on purpose makes safetensors, torch and transformers raise what they like.
    """
    try:
        yield
    except (SemtokError, ImportError):
        raise
    except Exception as error:
        size = f" ({path.stat().st_size} bytes)" if path.is_file() else ""
        # An errno is the operating system's: no permission, no such device, and nothing to do with the content.
        advice = "" if isinstance(error, OSError) and error.errno else "; fetch it again"
        raise CheckpointError(
            f"{path}{size} cannot be loaded: {str(error)[:1000] or type(error).__name__}{advice}"
        ) from error


def read_bytes(path: Path, limit: int) -> bytes:
    """The whole content of a file; `CheckpointError` if that is more than `limit` bytes."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CheckpointError(f"it has more than {limit} bytes, too many for what it should hold")
    return data
