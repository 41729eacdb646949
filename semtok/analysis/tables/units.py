"""The table of units: how many a second, and how well they begin where phones and words do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from semtok.analysis.boundaries import BoundaryScores, boundary_scores, inner_boundaries
from semtok.analysis.clips import Tiers
from semtok.analysis.codes import code_statistics
from semtok.analysis.frames import Frames
from semtok.analysis.tables.table import Table
from semtok.evaluation.alignments import Alignment, Seconds
from semtok.support.arrays import Integers

_SCORES = [field.name for field in dataclasses.fields(BoundaryScores)]


def units_table(frames: Frames, tiers: Tiers) -> Table:
    """Units and bits a second of each row, and for each tier of alignments the `BoundaryScores` of its units.

    A unit is a run of equal codes. It begins half-way between the centres of two frames.
    """
    rows, notes = [], []
    for number, (name, size) in enumerate(zip(frames.codebooks.names, frames.codebooks.sizes, strict=True)):
        statistics = code_statistics(frames.codes[number], frames.lengths, size, frames.frame_rate)
        scores: dict[str, float] = {}
        for tier, alignments in tiers.items():
            try:
                of_tier = dataclasses.asdict(_score(frames, number, alignments))
            except ValueError as error:
                notes.append(f"No boundaries of {tier} for row {name}: {error}.")
                of_tier = dict.fromkeys(_SCORES, math.nan)
            scores |= {f"{tier}_{score}": value for score, value in of_tier.items()}
        rates = {
            "units_per_second": frames.frame_rate / statistics.mean_run,
            "bits_per_second": statistics.run_entropy_bitrate,
        }
        rows.append({"row": name, **rates, **scores})
    if not tiers:
        notes.append("No clip has phones or words: give them by --alignments, or as columns of the manifest.")
    return Table(rows, notes)


def _score(frames: Frames, row: int, alignments: Mapping[int, Alignment]) -> BoundaryScores:
    """Of the units of a row, where clips are aligned: before the first and after the last label none are looked for."""
    units, references = [], []
    ends = np.cumsum(frames.lengths)
    for clip, start, end in zip(frames.clips.tolist(), ends - frames.lengths, ends, strict=True):
        if clip in alignments and len(alignments[clip].starts):
            alignment = alignments[clip]
            times = _boundaries(frames.codes[row, start:end], frames.times[start:end])
            units.append(times[(times > alignment.starts[0]) & (times < alignment.ends.max())])
            references.append(inner_boundaries(alignment))
    return boundary_scores(units, references)


def _boundaries(codes: Integers, times: Seconds) -> Seconds:
    """Between the frames [frames] of a clip, at these times, whose codes differ."""
    changes = np.flatnonzero(np.diff(codes))
    middles: Seconds = (times[changes] + times[changes + 1]) / 2
    return middles
