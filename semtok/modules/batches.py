"""Clips of any lengths through an encoder, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.errors import AudioError
from semtok.frames import frame_mask
from semtok.modules.encoder import Encoder

# Bounds memory where many clips are given at once; batches do not change tokens.
_BATCH_SECONDS = 120


def run_batches(
    encoder: Encoder, waveforms: Sequence[Tensor], layers: Sequence[int]
) -> Iterator[tuple[Tensor, list[Tensor], Tensor]]:
    """Features of clips [samples], in batches of clips of similar length.

    Yields:
        Which clips they are, int64 [batch]; features [batch, frames, dim] of each layer, in the order asked; which
        frames are valid, bool [batch, frames].

    Raises:
        AudioError: a clip is shorter than one frame.
    """
    for number, waveform in enumerate(waveforms):
        if len(waveform) < encoder.minimum_samples:
            raise AudioError(
                f"clip {number} has {len(waveform)} samples at {encoder.sample_rate} Hz, fewer than the "
                f"{encoder.minimum_samples} of one frame: leave it out or join it to its neighbour"
            )
    device = next(encoder.parameters()).device
    order = sorted(range(len(waveforms)), key=lambda number: len(waveforms[number]))
    while order:
        size = max(1, _BATCH_SECONDS * encoder.sample_rate // len(waveforms[order[-1]]))
        order, clips = order[:-size], order[-size:]
        padded = pad_sequence([waveforms[clip].to(device) for clip in clips], batch_first=True)
        lengths = torch.tensor([len(waveforms[clip]) for clip in clips])
        features, frames = encoder(padded, lengths, layers)
        yield torch.tensor(clips, device=device), features, frame_mask(frames, features[0].shape[1])
