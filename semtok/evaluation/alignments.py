"""Phone alignments of clips, from a file of JSON lines: `{"path": "a.flac", "phones": [["AH", 0.51, 0.07], ...]}`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semtok.errors import SemtokError

_EXPECTED = '{"path": "clip.flac", "phones": [["AH", 0.51, 0.07], ...]} with starts and durations in seconds'


@dataclass(frozen=True, eq=False)
class Alignment:
    """The phones of a clip, by start; `starts` and `ends` are float64 [phones], in seconds."""

    phones: tuple[str, ...]
    starts: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]

    def labels(self, times: npt.NDArray[np.float64], phones: Sequence[str]) -> npt.NDArray[np.int64]:
        """Index in `phones` of the phone at each time [frames] in seconds; -1 where there is none."""
        numbers = np.array([phones.index(phone) for phone in self.phones] or [-1], dtype=np.int64)
        positions = np.searchsorted(self.starts, times, side="right") - 1
        inside = (positions >= 0) & (times < np.append(self.ends, 0)[positions])
        return np.where(inside, numbers[positions], -1)


def read_alignments(path: str | os.PathLike[str]) -> dict[str, Alignment]:
    """The alignments of a file, by the path of their clip.

    Raises:
        SemtokError: there is no such file, or a line of it is something else.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SemtokError(f"cannot read the alignments {path}: {error}") from error
    alignments = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                clip, alignment = _read(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise SemtokError(
                    f"{path}, line {number}, is no alignment ({error!r}): expected {_EXPECTED}"
                ) from error
            alignments[clip] = alignment
    return alignments


def _read(entry: dict[str, Any]) -> tuple[str, Alignment]:
    phones = [str(name) for name, _, _ in entry["phones"]]
    starts, durations = (np.array([float(phone[column]) for phone in entry["phones"]]) for column in (1, 2))
    if not np.isfinite(starts).all() or (np.diff(starts) < 0).any() or not (durations >= 0).all():
        raise ValueError("phones out of order, or of negative duration")
    return str(entry["path"]), Alignment(tuple(phones), starts, starts + durations)
