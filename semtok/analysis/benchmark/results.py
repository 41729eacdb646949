"""What a benchmark has: rows of measures, and of each tokenizer the figures, or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from semtok.analysis.benchmark.codes import Figure


@dataclass(frozen=True)
class Measure:
    """A row of the page.

    Args:
        name: key of its figures.
        title: its heading.
        section: under which it stands.
        better: "higher" or "lower"; "" where neither is.
        decimals: that are shown.
        unit: "" or "%", which shows a hundred times the figure; or what it is a thousand times less of, "kbit/s".
    """

    name: str
    title: str
    section: str
    better: Literal["higher", "lower", ""]
    decimals: int = 3
    unit: str = ""

    @property
    def heading(self) -> str:
        """Title, unit and an arrow that points to the better end."""
        arrow = {"higher": " ↑", "lower": " ↓", "": ""}[self.better]
        return f"{self.title}{f', {self.unit}' if self.unit else ''}{arrow}"

    def shown(self, value: float) -> str:
        """The value in its unit; a dash for NaN."""
        scale = {"%": 100.0, "kbit/s": 0.001}.get(self.unit, 1.0)
        return "–" if math.isnan(value) else f"{value * scale:.{self.decimals}f}"


@dataclass(frozen=True)
class Entry:
    """What was measured of one tokenizer.

    Args:
        name: as it was asked for.
        title: with its layers or codebooks.
        facts: of it, for the page: frames and tokens a second, codebook sizes, fingerprint.
        figures: by name of the measure.
        missing: by name of the measure, why it was not measured.
        details: figures behind the best ones: PNMI by row, ABX by layer.
    """

    name: str
    title: str
    facts: dict[str, str]
    figures: dict[str, Figure] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    details: dict[str, dict[str, Figure]] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """What was measured of tokenizers by `run_benchmark`, `run_tasks` or `run_suite`: each measure, or why not.

    Args:
        measures: the rows, in order.
        entries: the columns.
        recordings: figures of the recordings themselves, of the measures that need no reference.
        clips: how many were encoded and decoded, `seconds` of audio; tasks and suites have none of these.
        judges: names by role.
        notes: what holds for all.
    """

    measures: tuple[Measure, ...]
    entries: tuple[Entry, ...]
    recordings: dict[str, Figure] = field(default_factory=dict)
    clips: int = 0
    seconds: float = 0.0
    judges: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def joined(self, other: Benchmark) -> Benchmark:
        """With other measures of the same tokenizers below these."""
        return replace(
            self,
            measures=self.measures + other.measures,
            entries=tuple(
                replace(
                    entry,
                    figures=entry.figures | of_other.figures,
                    missing=entry.missing | of_other.missing,
                    details=entry.details | of_other.details,
                )
                for entry, of_other in zip(self.entries, other.entries, strict=True)
            ),
            notes=self.notes + other.notes,
        )
