"""Phone alignments of clips, from a file of JSON lines: `{"path": "a.flac", "phones": [["AH", 0.51, 0.07], ...]}`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from semtok.audio.lengths import Framing
from semtok.errors import SemtokError
from semtok.support.arrays import Integers
from semtok.support.json import read_json_lines

_EXPECTED = '{"path": "clip.flac", "phones": [["AH", 0.51, 0.07], ...]} with starts and durations in seconds'
Seconds: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Alignment:
    """The phones, or words, of a clip, by start; `starts` and `ends` are float64 [phones], in seconds."""

    phones: tuple[str, ...]
    starts: Seconds
    ends: Seconds

    def labels(self, times: Seconds, phones: Sequence[str]) -> Integers:
        """Index in `phones` of the phone at each time [frames] in seconds; -1 where there is none."""
        numbers = np.array([phones.index(phone) for phone in self.phones] or [-1], dtype=np.int64)
        positions = np.searchsorted(self.starts, times, side="right") - 1
        inside = (positions >= 0) & (times < np.append(self.ends, 0)[positions])
        return np.where(inside, numbers[positions], -1)

    def segment(self, start: float, duration: float | None) -> Alignment:
        """What is spoken in a segment of the clip, timed from the segment's start."""
        stop = np.inf if duration is None else start + duration
        (inside,) = np.nonzero((self.ends > start) & (self.starts < stop))
        starts, ends = (np.clip(times[inside], start, stop) - start for times in (self.starts, self.ends))
        return Alignment(tuple(self.phones[number] for number in inside), starts, ends)


def frame_times(framing: Framing, frames: int) -> Seconds:
    """The centre of what the encoder sees of the waveform for each frame, in seconds."""
    return (np.arange(frames) * framing.hop_length + framing.minimum_samples / 2) / framing.sample_rate


def read_alignments(path: str | os.PathLike[str], tier: str = "phones") -> dict[str, Alignment]:
    """The alignments of a file, by the path of their clip; of another `tier`, such as "words", where a line has it.

    Raises:
        SemtokError: there is no such file, or a line of it is something else.
    """
    path = Path(path)

    def parse(entry: Mapping[str, Any], number: int) -> tuple[str, Alignment]:
        try:
            return str(entry["path"]), parse_alignment(entry[tier])
        except (ValueError, KeyError, TypeError) as error:
            raise SemtokError(f"{path}, line {number}, is no alignment ({error!r}): expected {_EXPECTED}") from error

    entries = read_json_lines(path, SemtokError)
    return dict(parse(entry, number) for number, entry in entries if tier == "phones" or tier in entry)


def match_alignments(
    alignments: Mapping[str, Alignment], clips: Collection[Path], audio: Path, file: Path
) -> dict[Path, Alignment]:
    """The alignments of these clips, resolved paths; those in `file` are relative to `audio` or to where it lies.

    Raises:
        SemtokError: they are of no clip.
    """
    aligned = {
        path: alignment
        for name, alignment in alignments.items()
        for path in dict.fromkeys((folder / name).resolve() for folder in (audio, file.parent))
        if path in clips
    }
    if not aligned:
        first = next(iter(alignments), None)
        raise SemtokError(
            f"{file} names no clip of {audio}: its paths have to be relative to that folder or to {file.parent}; "
            f"the first of {len(alignments)} is {first!r}, a clip is {next(iter(clips))}"
        )
    return aligned


def parse_alignment(intervals: Sequence[Sequence[Any]]) -> Alignment:
    """The alignment of intervals [name, start, duration] in seconds.

    Raises:
        ValueError, TypeError: they are something else, or out of order.
    """
    names = [str(name) for name, _, _ in intervals]
    starts, durations = (np.array([float(interval[column]) for interval in intervals]) for column in (1, 2))
    if not np.isfinite(starts).all() or (np.diff(starts) < 0).any() or not (durations >= 0).all():
        raise ValueError("phones out of order, or of negative duration")
    return Alignment(tuple(names), starts, starts + durations)
