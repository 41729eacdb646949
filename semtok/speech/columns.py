"""Columns of clips: their types, so that all values of a column fit into one column of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

RESERVED = ("id", "path", "start", "duration", "num_samples", "num_frames")
"""Columns that every table of tokens has."""


TYPES = ("string", "int64", "double", "bool")
"""Types of all other columns."""


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
