"""Files of audio, opened wherever they come from: paths, pipes, bytes, open files."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from semtok.errors import AudioError

AudioPath: TypeAlias = str | os.PathLike[str]
# A copy of what can be read once only is held in memory up to so many bytes, then on disk.
_MAX_IN_MEMORY = 1 << 25


class Copy(tempfile.SpooledTemporaryFile[bytes]):
    """All of a file that can be read once only."""

    def __del__(self) -> None:
        self.close()  # lives as long as the recording that holds it, which nobody closes


AudioFile: TypeAlias = AudioPath | bytes | bytearray | memoryview | BinaryIO | Copy
"""A path, the content of an audio file, or one that is open in binary mode and is read from where it stands."""


def is_file(value: object) -> bool:
    """Whether `open_file` may open it."""
    return isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview)) or callable(getattr(value, "read", None))


def name_file(file: AudioFile) -> str:
    """What an error calls it."""
    if isinstance(file, (str, os.PathLike)):
        return os.fspath(file)
    if isinstance(file, (bytes, bytearray, memoryview)):
        return f"<{len(file)} bytes>"
    name = getattr(file, "name", None)
    return "standard input" if name == "<stdin>" else name if isinstance(name, str) else f"<{type(file).__name__}>"


def copy_once(file: AudioFile, name: str) -> AudioPath | bytes | bytearray | memoryview | Copy:
    """What can be opened any number of times: a copy of a pipe and of an open file, else the same.

    Raises:
        AudioError: as `open_file`.
    """
    if isinstance(file, (bytes, bytearray, memoryview, Copy)):
        return file
    if isinstance(file, (str, os.PathLike)):
        try:
            mode = Path(file).stat().st_mode
            if not stat.S_ISFIFO(mode) and not stat.S_ISCHR(mode):
                return file
        except (OSError, ValueError):
            return file  # whoever opens it says what is wrong
        with _open_path(file) as pipe:
            return _copy(pipe, name)
    return _copy(file, name)


@contextmanager
def open_file(file: AudioFile, name: str) -> Iterator[BinaryIO]:
    """A file of audio to read, at its start; one can seek in it. `name` is what an error calls an open file.

    Raises:
        AudioError: there is no such file, it is a folder, or may not be read; an open file that is closed, at its end,
            or in text mode.
    """
    source = copy_once(file, name)
    if isinstance(source, Copy):
        source.seek(0)
        yield source  # type: ignore[misc]
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source)
    else:
        with _open_path(source) as opened:
            yield opened


def _open_path(path: AudioPath) -> BinaryIO:
    if os.fspath(path) == "":
        raise AudioError("expected the path of an audio file, got an empty one")
    try:
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise AudioError(f"there is no audio file {path} (looked from {Path.cwd()})") from error
    except IsADirectoryError as error:
        raise AudioError(f"{path} is a folder: pass the audio files in it") from error
    except PermissionError as error:
        raise AudioError(f"{path} may not be read: you lack the permission (see ls -l, chmod)") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot open {os.fspath(path)!r}: {getattr(error, 'strerror', None) or error}") from error


def _copy(file: Any, name: str) -> Copy:
    if getattr(file, "closed", False):
        raise AudioError(f"{name} is closed: pass it while it is open")
    copy = Copy(max_size=_MAX_IN_MEMORY)
    try:
        shutil.copyfileobj(file, copy, 1 << 20)
    except TypeError as error:
        raise AudioError(f"{name} does not give bytes when read: open it with mode 'rb'") from error
    except OSError as error:
        raise AudioError(f"cannot read {name}: {error}") from error
    if copy.tell() == 0:
        raise AudioError(f"there is nothing to read in {name}: it is empty, or stands at its end (see its seek)")
    return copy
