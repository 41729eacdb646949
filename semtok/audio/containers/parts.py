"""The parts of a file that libsndfile reads whole."""

from __future__ import annotations

import io
import os
from typing import BinaryIO, NamedTuple


class Part(NamedTuple):
    """A piece of a file that libsndfile reads whole.

    Args:
        file: that piece alone, at its start.
        samples: of a channel, where the container was searched for them; else what libsndfile says holds.
    """

    file: Spliced
    samples: int | None = None


class Spliced(io.RawIOBase):
    """A file of its own, to read: some bytes, then bytes `start` to `end` of another file.

    It may state more bytes than it has, for a decoder that estimates a length from them.
    """

    def __init__(self, file: BinaryIO, start: int, end: int, *, head: bytes = b"", stated: int = 0) -> None:
        self._file, self._head, self._position = file, head, 0
        self._offset, self._size = start - len(head), len(head) + end - start
        self._stated = max(stated, self._size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = offset + (0, self._position, self._stated)[whence]
        if position >= 0:  # a decoder may look for a tag before the start of a small file
            self._position = position
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = self._size if self._position <= self._size else self._stated
        count = min(len(buffer), max(0, end - self._position))
        if self._position > self._size:  # only who looks for a tag at the stated end comes here
            content = bytes(count)
        elif self._position < len(self._head):
            content = self._head[self._position : self._position + count]
        else:
            self._file.seek(self._offset + self._position)
            content = self._file.read(count)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def read_bytes(file: BinaryIO, start: int, end: int) -> bytes:
    """The bytes `start` to `end`, or as many of them as there are."""
    file.seek(start)
    return file.read(end - start)
