"""What a corpus is made of, whatever holds it: rows that are planned, and the clips of rows."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from semtok.audio.recordings import Recording
from semtok.errors import AudioError

RESERVED = ("id", "path", "start", "duration", "num_samples", "num_frames")
"""Columns that every table of tokens has."""


class Row(NamedTuple):
    """A row of the plan: a clip, or something that holds many, such as a tar.

    Args:
        id: unique.
        path: as the source names it.
        start, duration: seconds, of a segment.
        columns: what else is known, passed through.
    """

    id: str
    path: str
    start: float | None = None
    duration: float | None = None
    columns: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Clip:
    """One clip to encode.

    Args:
        row: what the table says of it.
        recording: its audio, or why there is none.
        held: bytes of it that are in memory already.
    """

    row: Row
    recording: Recording | AudioError
    held: int = field(default=0, compare=False)


class Source(ABC):
    """Where the clips of a corpus come from.

    Making one reads no more than is needed to know that it is there.

    Attributes:
        rows_are_clips: whether a row of the plan is one clip; else how many it holds is known once it is read.
    """

    rows_are_clips: bool = True

    @property
    @abstractmethod
    def columns(self) -> Mapping[str, str]:
        """Those that are passed through, with their types: "string", "int64", "double" or "bool"."""

    @property
    def left_out(self) -> str:
        """What is no part of it, though it lies there: such as "3 .m4a"; empty if nothing."""
        return ""

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """All rows, always in the same order.

        Raises:
            AudioError: a source that cannot be read, or has no audio.
        """

    @abstractmethod
    def clips(self, rows: Iterable[Row], sample_rate: int) -> Iterator[Clip]:
        """The clips of some rows, as recordings at `sample_rate`, in order; what cannot be read has its error."""


def type_name(value: object) -> str | None:
    """The type of a column that can hold a value; None fits all."""
    if value is None:
        return None
    kinds: tuple[tuple[type, str], ...] = ((bool, "bool"), (int, "int64"), (float, "double"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "string")


def common_types(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The columns of records, and types that hold every value: text where they differ, but for whole numbers."""
    types: dict[str, str | None] = {}
    for record in records:
        for name, value in record.items():
            types[name] = _join(types.get(name), type_name(value))
    return {name: kind or "string" for name, kind in types.items()}


def _join(one: str | None, other: str | None) -> str | None:
    if one is None or other is None or one == other:
        return one or other
    return "double" if {one, other} == {"int64", "double"} else "string"


def fit(value: Any, kind: str) -> Any:
    """A value as a column of this type holds it; what is no text is written as JSON where text is expected."""
    if value is None or kind != "string":
        return value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
