"""What a trained model is worth, as its run writes it down."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semtok.codebooks.layers import Layer
from semtok.support.atomic import atomic_write
from semtok.support.intervals import Interval
from semtok.training.downstream.objective import ClipErrors


class Measured(NamedTuple):
    """What a model is worth on some clips.

    Args:
        clips: their numbers, in the order of the errors.
        numbers: over all of them.
        intervals: of the error rates among these.
        errors: clip by clip.
        importance: the mean share of each layer over all frames.
    """

    clips: list[int]
    numbers: dict[str, float]
    intervals: dict[str, Interval]
    errors: ClipErrors
    importance: tuple[float, ...]


def write_results(folder: Path, test: Measured, valid: Measured, layers: list[Layer], paths: Sequence[str]) -> None:
    """Writes `test_clips.csv`, errors clip by clip, and `test.json`, whose being there says that all is written.

    Args:
        folder: of the run.
        test, valid: of its best model.
        layers: of that.
        paths: of all clips, by their numbers.
    """
    names = [f"{name}_{part}" for name in test.errors for part in ("errors", "of")]
    with atomic_write(folder / "test_clips.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "path", *names])
        for split, of in (("test", test), ("valid", valid)):
            columns = [column for pair in of.errors.values() for column in pair]
            for position, clip in enumerate(of.clips):
                writer.writerow([split, paths[clip], *(column[position] for column in columns)])
    entries = _described(test) | {"layers": layers, "weights": test.importance, "validation": _described(valid)}
    with atomic_write(folder / "test.json") as aside:
        aside.write_text(json.dumps(entries, indent=2) + "\n")


def _described(measured: Measured) -> dict[str, Any]:
    """As JSON has it, which has no NaN."""
    intervals = {name: None if math.isnan(interval.low) else interval for name, interval in measured.intervals.items()}
    return {"clips": len(measured.clips), **measured.numbers, "intervals": intervals}
