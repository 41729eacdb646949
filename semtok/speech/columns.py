"""Columns of clips: their names, and their types, so that all values of a column fit into one column of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from semtok.errors import AudioError

RESERVED = ("id", "path", "start", "duration", "num_samples", "num_frames")
"""Columns that every table of tokens has."""

TYPES = ("string", "int64", "uint64", "double", "bool")
"""Types of all other columns."""

# Columns of a table of tokens that hold a row of codes: a layer, or a residual stage of one.
_CODES = re.compile(r"l\d+(_s\d+)?")
_INT64 = range(-(1 << 63), 1 << 63)


def passed_name(name: str) -> str:
    """The name of a column of a source in a table of tokens, which has columns of its own: `path` is `source_path`."""
    return f"source_{name}" if name in RESERVED or _CODES.fullmatch(name) else name


def passed_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names that `passed_name` gives their columns.

    Raises:
        AudioError: two columns would get the same name.
    """
    columns = {passed_name(name): value for name, value in record.items()}
    if len(columns) < len(record):
        names = sorted(name for name in record if passed_name(name) != name)
        raise AudioError(
            f"columns {names} have names of columns of tokens and are passed on as source_NAME, but there are columns "
            "of those names too: rename one of each two"
        )
    return columns


def is_renamed(name: str) -> bool:
    """Whether a passed column has another name in its source."""
    return passed_name(name.removeprefix("source_")) == name != name.removeprefix("source_")


def type_name(value: object) -> str | None:
    """The type of a column that can hold a value; None fits all."""
    value = _plain(value)
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if value in _INT64 else "string"
    return "double" if isinstance(value, float) else "string"


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
    value = _plain(value)
    if value is None or kind != "string" or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=lambda part: str(_plain(part)))


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as those of Python."""
    return value.tolist() if hasattr(value, "tolist") else value
