"""ABX: is a phone nearer to another example of the same phone than to one of another phone?

A and X are examples of one phone, B is of another, in the same context (the phones before and after). The error is how
often X is nearer to B, half of the ties counted; 0.5 is chance. Within speakers all three are of one speaker, across
speakers X is of another one. Sources: Schatz et al., 2013; libri-light's and fastabx's evaluation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from semtok.analysis.clips import SPEAKER
from semtok.analysis.frames import CodedFrames
from semtok.evaluation.alignments import Alignment
from semtok.speech.clip import Clip
from semtok.support.arrays import Integers

FrameDistance: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[np.floating[Any]]]
"""Examples [pairs, frames, dim] twice -> distances of their frames [pairs, frames, frames]."""

# An example of a phone is cut to so many frames.
LONGEST = 16
_MOST_TRIPLETS = 20_000
_EXAMPLES = 4  # of a phone, in a context and of a speaker
_PAIRS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Example:
    """A phone that is spoken in the frames `start` to `stop` - 1 of a study."""

    start: int
    stop: int
    phone: str
    context: tuple[str, str]
    speaker: str


@dataclass(frozen=True, eq=False)
class Triplets:
    """Numbers of examples [triplets, 3]: A, B, X; and the cell of each: phones of A and B, speaker, context."""

    examples: Integers
    cells: Sequence[tuple[tuple[str, str], str, tuple[str, str]]]

    @cached_property
    def parents(self) -> list[Integers]:
        """The number of the cell of each triplet, then of the speaker of each cell, of the pair of phones, of all."""
        levels = []
        names: list[tuple[Any, ...]] = list(self.cells)
        for length in (3, 2, 1, 0):
            numbers = {name: number for number, name in enumerate(dict.fromkeys(name[:length] for name in names))}
            levels.append(np.array([numbers[name[:length]] for name in names], np.int64))
            names = list(numbers)
        return levels


def find_examples(
    frames: CodedFrames,
    clips: Sequence[Clip],
    phones: Mapping[int, Alignment],
    *,
    silence: Sequence[str] = ("SIL", "SPN"),
) -> list[Example]:
    """The phones of aligned clips that last for a frame at least, but for `silence`."""
    examples = []
    start = 0
    for length, clip in zip(frames.lengths.tolist(), frames.clips.tolist(), strict=True):
        alignment = phones.get(clip)
        if alignment is not None:
            times = frames.times[start : start + length]
            edges = np.searchsorted(times, np.stack([alignment.starts, alignment.ends])) + start
            names = ["", *alignment.phones, ""]
            speaker = clips[clip].label(SPEAKER)
            examples += [
                Example(first, min(last, first + LONGEST), name, (names[number], names[number + 2]), speaker)
                for number, (name, first, last) in enumerate(zip(alignment.phones, *edges.tolist(), strict=True))
                if last > first and name not in silence
            ]
        start += length
    return examples


def draw_triplets(examples: Sequence[Example], *, across: bool, context: bool = True, seed: int = 0) -> Triplets:
    """Triplets of examples, within speakers or `across` them, at random and 20,000 at most; possibly none.

    Without `context` the phones around do not have to be the same.
    """
    generator = np.random.default_rng(seed)
    by_context: dict[tuple[str, str], dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(dict))
    for number in generator.permutation(len(examples)).tolist():
        example = examples[number]
        phones = by_context[example.context if context else ("", "")][example.speaker]
        of_phone = phones.setdefault(example.phone, [])
        if len(of_phone) < _EXAMPLES:
            of_phone.append(number)
    triplets: list[tuple[int, int, int]] = []
    cells = []
    for around, by_speaker in by_context.items():
        for speaker, phones in by_speaker.items():
            for phone, of_a in phones.items():
                others = _others(by_speaker, speaker, phone) if across else None
                for other, of_b in phones.items():
                    if other == phone:
                        continue
                    for a in of_a:
                        for x in of_a if others is None else others:
                            if x != a:
                                triplets.append((a, of_b[len(triplets) % len(of_b)], x))
                                cells.append(((phone, other), speaker, around))
    chosen = generator.permutation(len(triplets))[:_MOST_TRIPLETS]
    numbers = np.array(triplets, np.int64).reshape(-1, 3)[chosen]
    return Triplets(numbers, [cells[number] for number in chosen])


def _others(by_speaker: Mapping[str, Mapping[str, Sequence[int]]], speaker: str, phone: str) -> list[int]:
    """A few examples of a phone by other speakers, one each."""
    others = [phones[phone][0] for name, phones in by_speaker.items() if name != speaker and phone in phones]
    return others[:_EXAMPLES]


def abx_error(triplets: Triplets, points: Sequence[npt.NDArray[Any]], distance: FrameDistance) -> float:
    """The ABX error, the mean over contexts, then speakers, then pairs of phones; NaN without triplets.

    Args:
        points: of each example, [frames, dim]: its features, or the centroids that its tokens stand for.
        distance: of frames.
    """
    if len(triplets.examples) == 0:
        return float("nan")
    return mean_error(triplets, triplet_errors(triplets, points, distance))


def triplet_errors(
    triplets: Triplets, points: Sequence[npt.NDArray[Any]], distance: FrameDistance
) -> npt.NDArray[np.float64]:
    """1 for each triplet whose X is nearer to B, .5 for a tie, else 0: [triplets]; arguments as of `abx_error`."""
    ax, bx = (dtw_distances(points, triplets.examples[:, [place, 2]], distance) for place in (0, 1))
    errors: npt.NDArray[np.float64] = (ax > bx) + 0.5 * (ax == bx)
    return errors


def mean_error(
    triplets: Triplets, errors: npt.NDArray[np.float64], weights: npt.NDArray[np.float64] | None = None
) -> float:
    """The mean of errors [triplets] over contexts, then speakers, then pairs of phones.

    By `weights` [triplets], of clips that are drawn again, those of a cell count; what weighs 0 in all is left out, and
    NaN is the mean of nothing.
    """
    weights = np.ones(len(errors)) if weights is None else weights
    for parents in triplets.parents:
        totals = np.bincount(parents, weights)
        errors = np.bincount(parents, weights * errors) / np.where(totals, totals, np.nan)
        errors, weights = np.where(totals, errors, 0.0), np.sign(totals)
    return float(errors[0]) if weights[0] else float("nan")


def dtw_distances(
    points: Sequence[npt.NDArray[Any]], pairs: Integers, distance: FrameDistance
) -> npt.NDArray[np.float64]:
    """Distance of each pair [pairs, 2] of examples: that of their frames along the best warping, its mean, [pairs]."""
    lengths = np.array([len(example) for example in points])
    padded = np.zeros((len(points), lengths.max(), *points[0].shape[1:]), points[0].dtype)
    for target, example in zip(padded, points, strict=True):
        target[: len(example)] = example
    parts = [pairs[start : start + _PAIRS_AT_A_TIME] for start in range(0, len(pairs), _PAIRS_AT_A_TIME)]
    return np.concatenate(
        [
            _warp(distance(padded[part[:, 0]], padded[part[:, 1]]), lengths[part[:, 0]], lengths[part[:, 1]])
            for part in parts
        ]
    )


def _warp(distances: npt.NDArray[np.floating[Any]], rows: Integers, columns: Integers) -> npt.NDArray[np.float64]:
    """Mean distance along the warping of the least total, of [pairs, frames, frames] cut to `rows` and `columns`."""
    pairs, height, width = distances.shape
    totals = np.full((pairs, height + 1, width + 1), np.inf)
    steps = np.zeros((pairs, height + 1, width + 1), np.int64)
    totals[:, 0, 0] = 0
    everyone = np.arange(pairs)
    for row in range(height):
        for column in range(width):
            before = np.stack([totals[:, row, column], totals[:, row, column + 1], totals[:, row + 1, column]])
            lengths = np.stack([steps[:, row, column], steps[:, row, column + 1], steps[:, row + 1, column]])
            best = before.argmin(axis=0)
            totals[:, row + 1, column + 1] = distances[:, row, column] + before[best, everyone]
            steps[:, row + 1, column + 1] = lengths[best, everyone] + 1
    ends = everyone, rows, columns
    mean: npt.NDArray[np.float64] = totals[ends] / steps[ends]
    return mean


def angle(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.floating[Any]]:
    """Angle between feature vectors [pairs, frames, dim], by pi."""
    first, second = (
        points / np.maximum(np.linalg.norm(points, axis=2, keepdims=True), 1e-8) for points in (first, second)
    )
    cosines = np.einsum("pid,pjd->pij", first, second, optimize=True)
    angles: npt.NDArray[np.floating[Any]] = np.arccos(np.clip(cosines, -1, 1)) / np.pi
    return angles
