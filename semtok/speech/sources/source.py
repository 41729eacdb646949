"""What every source of clips answers, whatever holds them: its rows, and the recordings of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from semtok.audio.recordings import Recording
from semtok.errors import AudioError
from semtok.speech.clip import Clip

Opened: TypeAlias = tuple[Clip, Recording | AudioError]
"""A clip, and its audio or the reason why there is none."""


class Source(ABC):
    """Where clips come from.

    A row of a source is a `Clip`, or an archive of clips, such as a tar, that is written as one: its `path` is the
    archive. Making a source reads no more than is needed to know that it is there.

    Attributes:
        rows_are_clips: whether each row is one clip; else the clips of a row are known once it is read.
    """

    rows_are_clips: bool = True

    @property
    @abstractmethod
    def columns(self) -> Mapping[str, str]:
        """The columns of the clips, with their types: "string", "int64", "double" or "bool"."""

    @property
    def left_out(self) -> str:
        """What is no part of it, though it lies there: such as "3 .m4a"; empty if nothing."""
        return ""

    @abstractmethod
    def rows(self) -> Iterator[Clip]:
        """All rows, always in the same order.

        Raises:
            AudioError: a source that cannot be read, or has no audio.
        """

    @abstractmethod
    def recordings(self, rows: Iterable[Clip], sample_rate: int) -> Iterator[Opened]:
        """The clips of some rows with their recordings at `sample_rate`, in order; errors stand for single clips.

        Raises:
            AudioError: a source that fails as a whole.
        """
