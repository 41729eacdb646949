"""Figures of other tokenizers and language models as their authors, or a leaderboard, published them.

They stand apart from what is measured: other data, other judges. A figure is a line of `published.csv`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class Published:
    """A published figure: of which system, in a group of them, what, how much, on what data, and where it was read."""

    group: str
    system: str
    measure: str
    value: str
    data: str
    source: str


def read_published() -> list[Published]:
    """All of them, group by group."""
    with _FILE.open(newline="", encoding="utf-8") as file:
        return [Published(**row) for row in csv.DictReader(file)]
