"""Paths on disk and URLs by one name."""

from __future__ import annotations

import posixpath
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from semtok.errors import AudioError, needs_extra

MAX_BYTES = 1 << 30
"""Of a recording that is held in memory: what is behind a URL, or in an archive."""


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
        return Place(self.name[: self.name.rindex("/") + 1] if self.path is None else str(self.path.parent))

    @property
    def base(self) -> str:
        """Its name in its folder."""
        return posixpath.basename(self.name) if self.path is None else self.path.name

    def __truediv__(self, name: str) -> Place:
        """What a row in it names: relative to it, absolute, or a URL."""
        if "://" in name:
            return Place(name)
        if self.path is not None:
            return Place(str(self.path / name))
        return Place(f"{self.name}{'' if self.name.endswith('/') else '/'}{name}")

    def __str__(self) -> str:
        return self.name

    def stamp(self) -> list[Any]:
        """Where it is; of a file on disk also its size in bytes and the time of its last change in nanoseconds."""
        if self.path is None:
            return [self.name]
        try:
            status = self.path.stat()
        except (OSError, ValueError):  # whoever opens it says what is wrong
            return [str(self.path.absolute())]
        return [str(self.path.absolute()), status.st_size, status.st_mtime_ns]

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

    def refuse_special(self) -> None:
        """Raises `AudioError` for a device, pipe or socket: reading it may have no end, or an effect."""
        try:
            mode = 0 if self.path is None else self.path.stat().st_mode
        except (OSError, ValueError):  # whoever opens it says what is wrong
            return
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise AudioError(f"{self} is a device, pipe or socket: a source names files")

    def reach(self, name: str, *, allow_urls: bool) -> Place:
        """What a row of a manifest in this folder names: relative to the folder, absolute, or a URL.

        Raises:
            AudioError: a relative path that leads out of this folder; a URL that is not below this folder, unless
                `allow_urls`.
        """
        if "://" in name:
            if not (allow_urls or (self.path is None and name.startswith(f"{self.name.rstrip('/')}/"))):
                raise AudioError(f"{name!r} is a URL, which may lead anywhere: allow it with --allow-urls")
        elif not posixpath.isabs(name) and posixpath.normpath(name).split("/")[0] == "..":
            raise AudioError(f"{name!r} leads out of {self}: give its absolute path, or move the manifest above it")
        return self / name

    def open(self) -> IO[bytes]:
        """To read.

        Raises:
            AudioError: it cannot be opened.
        """
        self.refuse_special()
        try:
            if self.path is not None:
                return self.path.open("rb")
            file_system, path = self._remote()
            opened: IO[bytes] = file_system.open(path, "rb")
            return opened
        except (OSError, ValueError) as error:
            looked = "" if self.path is None or self.path.is_absolute() else f" (looked from {Path.cwd()})"
            raise AudioError(f"cannot open {self}: {error}{looked}") from error

    def read(self) -> bytes:
        """All of it; `AudioError` if it cannot be read or has more than `MAX_BYTES`."""
        try:
            with self.open() as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise AudioError(f"cannot read {self}: {error}") from error
        if len(content) > MAX_BYTES:
            raise AudioError(
                f"{self} has more than {MAX_BYTES} bytes, which are not held in memory: fetch it to a disk"
            )
        return content

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
