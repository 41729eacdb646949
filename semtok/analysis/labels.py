"""Labels of the frames of a study: phones and words by their alignments, and any column of the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semtok.analysis.clips import SPEAKER, Tiers
from semtok.analysis.frames import CodedFrames
from semtok.errors import SemtokError
from semtok.speech.clip import Clip
from semtok.support.arrays import Integers

# A word, or a label of clips, that occurs in fewer clips cannot be counted in some and predicted in others.
_LEAST_CLIPS = 2
# To train, validate and test probes on, and for quarters to count in.
_LEAST_GROUPS = 4


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of some frames.

    Args:
        name: "phones", "words" or a column.
        names: the labels, by number.
        frames: int64 [labelled]: the labelled frames.
        labels: int64 [labelled]: the number of each one's label.
        groups: int64 [labelled]: what is held out together: clips; or speakers, for a label of clips which does not
            say who speaks, where there are enough of them.
        notes: what was left out.
    """

    name: str
    names: tuple[str, ...]
    frames: Integers
    labels: Integers
    groups: Integers
    notes: tuple[str, ...] = ()


def aligned_labels(frames: CodedFrames, tiers: Tiers, tier: str, clips: int) -> Labels:
    """Phones or words of some of so many clips; of a word each frame. Labels of one clip alone are left out.

    Raises:
        SemtokError: no clip is aligned, or fewer than two labels are left.
    """
    of_tier = tiers.get(tier, {})
    aligned = {number for number in np.unique(frames.clips).tolist() if number in of_tier}
    if not aligned:
        raise SemtokError(f"no clip has {tier}: give them by --alignments, or as a column of the manifest")
    names = sorted({name for number in aligned for name in of_tier[number].phones})
    labels = np.full(frames.codes.shape[1], -1)
    for number in aligned:
        (places,) = np.nonzero(frames.clip_of == number)
        labels[places] = of_tier[number].labels(frames.times[places], names)
    notes = () if len(aligned) == clips else (f"{len(aligned)} of {clips} clips have {tier}.",)
    return _labels(tier, names, labels, frames, frames.groups, notes)


def column_labels(frames: CodedFrames, clips: Sequence[Clip], column: str) -> Labels:
    """What a column of the manifest says of each clip. Labels of one clip alone are left out.

    Raises:
        SemtokError: no clip has it, or fewer than two labels are left.
    """
    values = {number: clips[number].label(column) for number in np.unique(frames.clips).tolist()}
    if not any(values.values()):
        raise SemtokError(f"no clip has a label in the column {column}")
    names = sorted({value for value in values.values() if value})
    numbers = np.full(len(clips), -1)
    for number, value in values.items():
        numbers[number] = names.index(value) if value else -1
    unlabelled = sum(not value for value in values.values())
    notes = (f"{unlabelled} of {len(values)} clips have no {column}.",) if unlabelled else ()
    return _labels(column, names, numbers[frames.clip_of], frames, _groups(frames, clips, column, numbers), notes)


def _groups(frames: CodedFrames, clips: Sequence[Clip], column: str, labels: Integers) -> Integers:
    """Speakers, if each label has three at least; else clips."""
    speakers = [clip.label(SPEAKER) for clip in clips]
    if column == SPEAKER or not all(speakers):
        return frames.clip_of
    of_label = Counter(label for label, _ in {*zip(labels.tolist(), speakers, strict=True)} if label >= 0)
    if min(of_label.values()) < 3:
        return frames.clip_of
    names = sorted({speaker for speaker in speakers if speaker})
    numbers = np.array([names.index(speaker) for speaker in speakers if speaker])
    return numbers[frames.clip_of]


def _labels(
    name: str,
    names: Sequence[str],
    labels: Integers,
    frames: CodedFrames,
    groups: Integers,
    notes: Sequence[str],
) -> Labels:
    """Without the labels that occur in one group alone."""
    labelled = labels >= 0
    pairs = np.unique(np.stack([labels[labelled], frames.groups[labelled]]), axis=1)[0]
    often = np.bincount(pairs, minlength=len(names)) >= _LEAST_CLIPS
    usable = [name for name, enough in zip(names, often, strict=True) if enough]
    if len(usable) < 2:
        raise SemtokError(
            f"{name} have {len(names)} different labels, {len(usable)} of them in two clips or more: two are needed"
        )
    (chosen,) = np.nonzero(labelled & often[labels])
    if (count := len(np.unique(groups[chosen]))) < _LEAST_GROUPS:
        raise SemtokError(
            f"{name} of {count} clips, or seconds of few clips, cannot be counted in some and predicted in others: "
            f"{_LEAST_GROUPS} are needed"
        )
    rare = len(names) - len(usable)
    notes = [*notes, *([f"{rare} of {len(names)} {name} occur in one clip alone and are left out."] if rare else [])]
    numbers = np.cumsum(often) - 1
    return Labels(name, tuple(usable), chosen, numbers[labels[chosen]], groups[chosen], tuple(notes))
