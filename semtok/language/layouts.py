"""Layouts: in which order a language model reads the rows of codes of a frame.

| layout | shape | what a model sees |
|---|---|---|
| `flattened` | [rows x frames + 2] | one id at a time, frame by frame: all rows of frame 0, then all rows of frame 1 |
| `parallel` | [rows, frames + 2] | a frame at a time |
| `delay` | [rows, frames + rows + 1] | a step at a time, row r being r frames late: each row is predicted after those above it (MusicGen, Copet et al., 2023, section 2.2) |

Each row begins with the begin token and ends in the end token; in `delay` these also fill the steps in which a row has
not begun, or has ended.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

BEGIN, END, FOREIGN = -1, -2, -3
"""Kinds of an id that is of no row; that of an id of a row is the row's number."""


class Reading(NamedTuple):
    """How a layout reads a sequence.

    Args:
        positions: int64 [rows, frames], where in the flattened sequence the ids of each whole frame are.
        wrong: int64 [n], positions in the flattened sequence at which an id does not fit.
    """

    positions: Tensor
    wrong: Tensor


class Layout(Protocol):
    """A layout writes ids, and reads them by their kinds."""

    dimensions: int
    """Of its sequences: 1, or 2 for [rows, steps]."""

    def write(self, ids: Tensor, begin: int, end: int) -> Tensor:
        """Ids [rows, frames] -> sequence."""

    def read(self, kinds: Tensor, rows: int) -> Reading:
        """The kinds of a sequence's ids -> where the ids of its frames are. `write` without begin or end, or without
        both, is read as well."""


class Flattened:
    dimensions = 1

    def write(self, ids: Tensor, begin: int, end: int) -> Tensor:
        return torch.cat([ids.new_tensor([begin]), ids.T.flatten(), ids.new_tensor([end])])

    def read(self, kinds: Tensor, rows: int) -> Reading:
        start = int(len(kinds) > 0 and bool(kinds[0] == BEGIN))
        stop = len(kinds) - int(len(kinds) > start and bool(kinds[-1] == END))
        row = torch.arange(rows, device=kinds.device)
        wrong = torch.ones(max(stop - start, 0), dtype=torch.bool, device=kinds.device)
        if len(wrong) < rows:
            return Reading(row.new_zeros(rows, 0), start + wrong.nonzero().flatten())
        # As row 0 is only where a frame begins, whole frames do not overlap.
        firsts = (kinds[start:stop].unfold(0, rows, 1) == row).all(dim=1).nonzero().flatten()
        positions = firsts + row[:, None]
        wrong[positions] = False
        return Reading(start + positions, start + wrong.nonzero().flatten())


@dataclass(frozen=True)
class Streams:
    """`parallel` with a delay of 0, `delay` with one of 1 frame from row to row."""

    delay: int
    dimensions = 2

    def write(self, ids: Tensor, begin: int, end: int) -> Tensor:
        rows, frames = ids.shape
        sequence = ids.new_full((rows, frames + 2 + self.delay * (rows - 1)), end)
        for row in range(rows):
            first = 1 + self.delay * row
            sequence[row, :first] = begin
            sequence[row, first : first + frames] = ids[row]
        return sequence

    def read(self, kinds: Tensor, rows: int) -> Reading:
        steps, row = kinds.shape[1], torch.arange(rows, device=kinds.device)[:, None]
        late, step = self.delay * row, torch.arange(steps, device=kinds.device)
        last = steps - self.delay * (rows - 1)
        if last < 1:
            return Reading(row.new_zeros(rows, 0), torch.arange(kinds.numel(), device=kinds.device))
        start = int(bool((kinds.gather(1, late) == BEGIN).any()))
        ends = (kinds[0] == END).nonzero()
        stop = max(start, min(int(ends[0]), last) if len(ends) else last)
        frame = step - late  # of each row in each step
        expected = torch.where(frame < start, BEGIN, torch.where(frame >= stop, END, row))
        wrong = (kinds != expected).flatten()
        positions = row * steps + late + step[start:stop]
        return Reading(positions[:, ~wrong[positions].any(dim=0)], wrong.nonzero().flatten())


LAYOUTS: dict[str, Layout] = {"flattened": Flattened(), "parallel": Streams(0), "delay": Streams(1)}
"""By name."""
