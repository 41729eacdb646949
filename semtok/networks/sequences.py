"""Sequences of any lengths through a network: cut into windows, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.lengths import Window, Windows


class Piece(NamedTuple):
    """A window of one of several sequences."""

    sequence: int
    window: Window


def plan_batches(lengths: Sequence[int], budget: int, *, equal: bool = False) -> list[list[int]]:
    """Numbers of sequences in batches of similar length, the longest sequences first.

    Args:
        lengths: of the sequences.
        budget: length of all sequences of a batch together, padding included; a longer sequence is a batch by itself.
        equal: only sequences of the same length are in one batch, so that there is no padding.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    planned: list[list[int]] = []
    room = 0
    for number in order:
        if room == 0 or (equal and lengths[number] != lengths[planned[-1][0]]):
            planned.append([])
            room = max(1, budget // max(1, lengths[number]))
        planned[-1].append(number)
        room -= 1
    return planned


def run(
    network: Callable[[Tensor, Tensor, list[int]], Tensor],
    sequences: Sequence[Tensor],
    windows: Windows,
    budget: int,
    *,
    frames_per_step: int = 1,
    equal: bool = False,
) -> Iterator[tuple[Piece, Tensor]]:
    """What a network makes of sequences, window by window.

    Args:
        network: takes inputs [batch, rows, frames, ...], padded with 0; the frames of each input, int64 [batch]; and
            the numbers of the sequences that these are windows of. It gives [batch, steps, ...].
        sequences: [rows, frames, ...] each, on one device. A sequence without frames has no window.
        windows: where sequences are cut; multiples of `frames_per_step`.
        budget: frames of a batch, padding included, unless one window has more.
        frames_per_step: of the network's output; a step may be the last of a sequence with fewer frames.
        equal: as in `plan_batches`, for networks that see padding.

    Yields:
        Each window, the longest first, and the steps [steps, ...] that answer its frames.
    """
    pieces = [
        Piece(number, window) for number, sequence in enumerate(sequences) for window in windows.plan(sequence.shape[1])
    ]
    for batch in plan_batches([window.last - window.first for _, window in pieces], budget, equal=equal):
        chosen = [pieces[number] for number in batch]
        cut = [sequences[number][:, window.first : window.last].transpose(0, 1) for number, window in chosen]
        lengths = torch.tensor([len(frames) for frames in cut], device=cut[0].device)
        padded = pad_sequence(cut, batch_first=True).transpose(1, 2)
        for piece, steps in zip(chosen, network(padded, lengths, [number for number, _ in chosen]), strict=True):
            answered = piece.window.answered
            yield piece, steps[answered.start // frames_per_step : -(-answered.stop // frames_per_step)]


def join(answers: Iterable[tuple[Piece, Tensor]]) -> list[Tensor]:
    """The steps [steps, ...] of each sequence that has frames, from the windows that `run` yields."""
    parts: dict[int, list[Tensor]] = {}
    for piece, steps in sorted(answers, key=lambda answer: answer[0]):
        parts.setdefault(piece.sequence, []).append(steps)
    return [torch.cat(steps) for steps in parts.values()]
