"""Runs of equal frames: tokens without repetitions, how long each lasts and when it is spoken, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.errors import TokensError
from semtok.tokens import Tokens


@dataclass(frozen=True, eq=False)
class Spans:
    """The runs of an utterance.

    Args:
        codes: int64 [rows, runs].
        starts, ends: float32 [runs], in seconds; each run starts where the one before it ends.
    """

    codes: Tensor
    starts: Tensor
    ends: Tensor


def deduplicate(tokens: Tokens) -> tuple[Tokens, Tensor]:
    """Tokens without repetitions, and how long each lasted; `repeat` is the exact inverse.

    A frame repeats the one before it if it has the same code in all rows, so with several rows little is repeated:
    select layers first.

    Returns:
        Tokens with as many frames as there were runs; and the frames of each run, int64 [batch, frames], 0 past an
        utterance's length.
    """
    pairs = [runs(codes[:, :length]) for codes, length in zip(tokens.codes, tokens.lengths.tolist(), strict=True)]
    counts = pad_sequence([durations for _, durations in pairs], batch_first=True)
    return _tokens(tokens, [codes for codes, _ in pairs]), counts


def repeat(tokens: Tokens, durations: Tensor) -> Tokens:
    """Each frame of the tokens so many times, int64 [batch, frames] as `deduplicate` gives them.

    Raises:
        TokensError: durations of another shape or dtype, below 1 within an utterance, or not 0 past its length.
    """
    if durations.shape != (shape := (len(tokens), tokens.codes.shape[2])) or durations.dtype != torch.int64:
        raise TokensError(
            f"durations must be int64 [batch, frames] = {list(shape)}, got {durations.dtype} {list(durations.shape)}"
        )
    within = torch.arange(shape[1], device=durations.device) < tokens.lengths.to(durations.device)[:, None]
    if (wrong := torch.where(within, durations < 1, durations != 0)).any():
        utterance, frame = wrong.nonzero()[0].tolist()
        raise TokensError(
            f"the duration of frame {frame} of utterance {utterance} is {int(durations[utterance, frame])}: expected "
            f"{'at least 1' if within[utterance, frame] else '0 past the length'}"
        )
    counts = durations.to(tokens.codes.device)
    return _tokens(
        tokens,
        [
            codes[:, :length].repeat_interleave(count[:length], dim=1)
            for codes, count, length in zip(tokens.codes, counts, tokens.lengths.tolist(), strict=True)
        ],
    )


def spans(tokens: Tokens) -> list[Spans]:
    """The runs of each utterance, and when they are spoken."""
    utterances = []
    for clip, length in zip(tokens.codes, tokens.lengths.tolist(), strict=True):
        codes, durations = runs(clip[:, :length])
        ends = durations.cumsum(0)
        utterances.append(Spans(codes, (ends - durations) / tokens.frame_rate, ends / tokens.frame_rate))
    return utterances


def runs(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The runs of equal frames in codes [rows, frames]: [rows, runs], and the frames of each, [runs]."""
    if codes.shape[1] == 0:
        return codes, codes.new_zeros(0)
    different = (codes[:, 1:] != codes[:, :-1]).any(dim=0)
    starts = torch.cat([different.new_ones(1), different]).nonzero().flatten()
    ends = torch.cat([starts[1:], starts.new_tensor([codes.shape[1]])])
    return codes[:, starts], ends - starts


def split_long_runs(codes: Tensor, durations: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Runs [rows, runs] of these durations [runs] as runs of at most `longest` frames: all but the last of each have
    that many."""
    pieces = -(-durations // longest)
    last = pieces.cumsum(0) - 1
    split = durations.new_full((int(pieces.sum()),), longest)
    split[last] = durations - (pieces - 1) * longest
    return codes.repeat_interleave(pieces, dim=1), split


def _tokens(tokens: Tokens, codes: list[Tensor]) -> Tokens:
    return Tokens.of(codes, tokens.codebooks, tokens.frame_rate, tokens.fingerprint)
