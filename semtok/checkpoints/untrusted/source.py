"""The file at hand: its bytes within a bound, and its name in every complaint about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semtok.errors import CheckpointError

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


def read_bytes(path: Path, limit: int) -> bytes:
    """The whole content of a file; `CheckpointError` if that is more than `limit` bytes."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CheckpointError(f"it has more than {limit} bytes, too many for what it should hold")
    return data
