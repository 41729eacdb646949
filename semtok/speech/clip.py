"""`Clip`: one piece of speech, and all that its source knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Clip:
    """A recording, or a segment of one. Its audio is a `semtok.audio.recordings.Recording`, which its source opens.

    Args:
        id: unique in its source.
        path: of the recording, as the source names it.
        start: of the segment in the recording, in seconds; None for the whole recording.
        duration: of the segment, in seconds; None for a segment that lasts to the end of the recording.
        columns: all else that the source knows of the clip, such as `text`, `speaker` or `split`.
    """

    id: str
    path: str
    start: float | None = None
    duration: float | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def label(self, column: str) -> str:
        """The text of a column; empty if the clip has no such column or no value in it, which NaN stands for too."""
        value = self.columns.get(column)
        return "" if value is None or value != value else str(value)
