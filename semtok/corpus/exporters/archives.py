"""Archives of Kaldi and their indices, and other files of lines that begin with a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt

from semtok.errors import CorpusError, needs_extra

Append = Callable[[str, npt.NDArray[Any]], None]


def check_indexed(folder: Path, also: str = "") -> None:
    """Raises `CorpusError` for a folder whose path an index cannot hold: one with a line break, or a sign of `also`."""
    if len(str(folder).splitlines()) > 1:
        raise CorpusError(f"an index of Kaldi holds no path with a line break, such as {str(folder)!r}: give another")
    if signs := [sign for sign in also if sign in str(folder.absolute())]:
        raise CorpusError(f"this format holds no path with {' or '.join(signs)}, such as {folder.absolute()}")


@contextmanager
def open_archive(archive: Path, index: Path, folder: Path, *, as_numpy: bool = False) -> Iterator[Append]:
    """Gives a function that adds an array under a key.

    Args:
        archive, index: where they are written.
        folder: in which the archive will be.
        as_numpy: arrays of any shape and type, as kaldiio's `write_function="numpy"`; by default vectors of int32.
    """
    with needs_extra("export"):
        from kaldiio import save_ark

    with archive.open("wb") as file, index.open("w", encoding="utf-8") as lines:

        def append(key: str, array: npt.NDArray[Any]) -> None:
            start = file.tell() + len(f"{key} ".encode())
            save_ark(file, {key: array}, write_function="numpy" if as_numpy else None)
            lines.write(f"{key} {folder / archive.name}:{start}\n")

        yield append


def sort_lines(*paths: Path) -> None:
    """Sorts files of lines by the bytes of their keys, as Kaldi's tools expect, with the keys alone in memory."""
    for path in paths:
        places: list[tuple[bytes, int]] = []
        aside = path.with_name(f"{path.name}.sorted")
        with path.open("rb") as file, aside.open("wb") as to:
            start = 0
            for line in file:
                places.append((line.split(b" ", 1)[0], start))
                start += len(line)
            for _, start in sorted(places):
                file.seek(start)
                to.write(file.readline())
        aside.replace(path)
