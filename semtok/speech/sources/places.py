"""Paths on disk and URLs by one name."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from semtok.errors import AudioError, needs_extra


@dataclass(frozen=True)
class Place:
    """A file or folder: a path on disk, or a URL that fsspec opens, such as "s3://bucket/speech"."""

    name: str

    @cached_property
    def path(self) -> Path | None:
        """On disk; None of a URL."""
        return None if "://" in self.name else Path(self.name)

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.name)[1].lower()

    @property
    def parent(self) -> Place:
        return Place(posixpath.dirname(self.name) if self.path is None else str(self.path.parent))

    def __truediv__(self, name: str) -> Place:
        """What a row in it names: relative to it, absolute, or a URL."""
        if "://" in name:
            return Place(name)
        return Place(f"{self.name.rstrip('/')}/{name}" if self.path is None else str(self.path / name))

    def __str__(self) -> str:
        return self.name

    def is_folder(self) -> bool:
        if self.path is not None:
            return self.path.is_dir()
        file_system, path = self._remote()
        try:
            return bool(file_system.isdir(path))
        except OSError as error:
            raise AudioError(f"cannot look into {self}: {error}") from error

    def find(self, suffixes: tuple[str, ...]) -> list[str]:
        """Files below this folder with one of these suffixes, sorted, relative to it; hidden ones are left out."""
        if self.path is not None:
            names = [file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()]
        else:
            file_system, path = self._remote()
            try:
                names = [name[len(path) :].lstrip("/") for name in file_system.find(path)]
            except OSError as error:
                raise AudioError(f"cannot look into {self}: {error}") from error
        return sorted(name for name in names if name.lower().endswith(suffixes) and not _is_hidden(name))

    def open(self) -> IO[bytes]:
        """To read.

        Raises:
            AudioError: it cannot be opened.
        """
        try:
            if self.path is not None:
                return self.path.open("rb")
            file_system, path = self._remote()
            opened: IO[bytes] = file_system.open(path, "rb")
            return opened
        except OSError as error:
            raise AudioError(f"cannot open {self}: {error}") from error

    def read(self) -> bytes:
        """All of it; `AudioError` if it cannot be read."""
        try:
            with self.open() as file:
                return file.read()
        except OSError as error:
            raise AudioError(f"cannot read {self}: {error}") from error

    def _remote(self) -> tuple[Any, str]:
        with needs_extra("corpus"):
            import fsspec
        try:
            file_system, path = fsspec.core.url_to_fs(self.name)
        except (ImportError, OSError, ValueError) as error:  # s3fs and its like are packages of their own
            raise AudioError(f"cannot open {self}: {error}") from error
        return file_system, path


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
