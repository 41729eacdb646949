"""Tables of a study: rows of plain numbers and words, kept in files so that nothing is computed twice."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semtok.errors import SemtokError
from semtok.support.atomic import atomic_write
from semtok.support.json import plain

_CACHE = "study-cache"


@dataclass(frozen=True)
class Table:
    """One result of a study.

    Args:
        rows: columns by name; numbers (NaN where undefined), words, or lists of them.
        notes: sentences about what is missing, and what to beware of.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, **values: Any) -> list[dict[str, Any]]:
        """The rows that have these values."""
        return [row for row in self.rows if all(row[name] == value for name, value in values.items())]

    def write_csv(self, path: Path) -> None:
        """As CSV; lists with spaces between their items, undefined numbers empty."""
        with atomic_write(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in self.rows)


def compare(tables: Mapping[int, Table]) -> Table:
    """One table of those of several codebook sizes, which stand in its column `codebook_size`."""
    rows = [{"codebook_size": size} | row for size, table in tables.items() for row in table.rows]
    return Table(rows, list(dict.fromkeys(note for table in tables.values() for note in table.notes)))


def study_cache(folder: Path) -> Path:
    """The folder in which a study keeps what it computed, made if need be.

    Raises:
        SemtokError: `folder` holds something else than a study.
    """
    cache = folder / _CACHE
    if folder.exists() and not cache.is_dir() and (not folder.is_dir() or any(folder.iterdir())):
        raise SemtokError(f"{folder} is not empty and holds no study: give a new folder, or that of an earlier study")
    cache.mkdir(parents=True, exist_ok=True)
    return cache


class TableCache:
    """Tables by name and by what they were computed from, in the `study_cache` of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = study_cache(folder)

    def get(self, name: str, origin: Any, compute: Callable[[], Table]) -> Table:
        """The table, computed if there is none of this name and of an equal `origin` (all that JSON can hold)."""
        digest = hashlib.sha256(json.dumps([name, origin], sort_keys=True, default=plain).encode()).hexdigest()[:16]
        file = self.folder / f"{name}-{digest}.json"
        if file.exists():
            return Table(**json.loads(file.read_text(encoding="utf-8")))
        table = compute()
        with atomic_write(file) as aside:
            aside.write_text(json.dumps({"rows": table.rows, "notes": table.notes}), encoding="utf-8")
        return table


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if isinstance(value, float) and math.isnan(value) else value
