"""What every source of clips answers, whatever holds them: its rows, and the recordings of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

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
        split: that all clips are of, such as "train"; None where each clip may have a column for it.
    """

    rows_are_clips: bool = True
    split: str | None = None

    @property
    @abstractmethod
    def columns(self) -> Mapping[str, str]:
        """The columns of the clips, with their types: "string", "int64", "uint64", "double" or "bool"."""

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

    @abstractmethod
    def locate(self, clip: Clip) -> str:
        """Where the audio of a clip or row is: a path seen from the working folder, or a URL."""

    @abstractmethod
    def stamp(self, row: Clip) -> Any:
        """What changes when the audio of a row does, as JSON: where it is, and of files on disk size and time."""
