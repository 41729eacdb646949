"""Where units begin, beside where phones or words begin: precision, recall, F1 and R-value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semtok.evaluation.alignments import Alignment, Seconds

TOLERANCE = 0.02
"""Seconds between two boundaries that count as one, as is usual for phones."""


@dataclass(frozen=True)
class BoundaryScores:
    """How boundaries agree. Each counts once, for the nearest of the other kind within the tolerance.

    Args:
        precision: share of the boundaries of units that are boundaries of the reference.
        recall: share of those of the reference that units have.
        f1: harmonic mean of both.
        r_value: 1 where all agree; unlike F1 it falls where there are more boundaries than in the reference
            (Räsänen et al., 2009).
    """

    precision: float
    recall: float
    f1: float
    r_value: float


def boundary_scores(
    units: Sequence[Seconds], references: Sequence[Seconds], tolerance: float = TOLERANCE
) -> BoundaryScores:
    """Scores of the boundaries of clips, ascending times [boundaries] each, counted over all clips.

    Raises:
        ValueError: other numbers of clips, or no boundary in one of the two.
    """
    hits = sum(count_hits(of_clip, reference, tolerance) for of_clip, reference in zip(units, references, strict=True))
    given, wanted = sum(map(len, units)), sum(map(len, references))
    if given == 0 or wanted == 0:
        raise ValueError(f"boundaries are compared where there are some, got {given} of units and {wanted} to find")
    precision, recall = hits / given, hits / wanted
    over = recall / precision - 1 if hits else given / wanted - 1
    distance = math.hypot(1 - recall, over)
    beside = abs(recall - 1 - over) / math.sqrt(2)
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return BoundaryScores(precision, recall, f1, 1 - (distance + beside) / 2)


def count_hits(units: Seconds, reference: Seconds, tolerance: float) -> int:
    """The most pairs of a boundary of each that are within the tolerance, none in two pairs; both ascending."""
    hits = place = 0
    for boundary in units.tolist():
        while place < len(reference) and reference[place] < boundary - tolerance - 1e-9:
            place += 1
        if place < len(reference) and reference[place] <= boundary + tolerance + 1e-9:
            hits += 1
            place += 1
    return hits


def inner_boundaries(alignment: Alignment) -> Seconds:
    """Where phones or words begin or end within what is spoken, each once."""
    edges = np.unique(np.round(np.concatenate([alignment.starts, alignment.ends]), 4))
    return edges[1:-1]
