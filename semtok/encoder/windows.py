"""Recordings of any length through an encoder, in windows with context on both sides, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from semtok.audio.lengths import Framing, Window, Windows
from semtok.audio.recordings import Recording
from semtok.codebooks.layers import Layer
from semtok.encoder.code_encoder import CodeEncoder
from semtok.encoder.encoder import Encoder
from semtok.errors import AudioError

# Seconds of a block that is read at a time: far shorter than a window, and long enough to be read fast.
_BLOCK_SECONDS = 10


def run_windows(
    module: Encoder | CodeEncoder, recording: Recording, layers: Sequence[Layer], windows: Windows
) -> Iterator[Tensor]:
    """Features or codes of a recording, chunk by chunk, in memory that does not grow with the recording.

    The recording is read twice: first for the statistics by which every window is normalised, then window by window.
    A recording that fits in one window has the same features and codes as without windows.

    Yields:
        [layers or rows, frames, ...] of consecutive frames.

    Raises:
        AudioError: the recording is shorter than one frame, cannot be read, or changes while it is read.
    """
    samples = 0

    def counted() -> Iterator[Tensor]:
        nonlocal samples
        for block in recording.blocks(_BLOCK_SECONDS):
            samples += len(block)
            yield block

    statistics = module.statistics(counted())
    device = next(module.parameters()).device
    for window, waveform in _cut(recording, module.framing, windows.plan(module.framing.count(samples))):
        output, _ = module(waveform.to(device)[None], torch.tensor([len(waveform)]), layers, [statistics])
        yield output[0, :, window.answered]


def _cut(recording: Recording, framing: Framing, windows: Iterable[Window]) -> Iterator[tuple[Window, Tensor]]:
    """The samples under the frames of each window, of which only the current window's are in memory."""
    blocks = recording.blocks(_BLOCK_SECONDS)
    held: list[Tensor] = []
    held_from = held_to = 0
    for window in windows:
        begin, end = framing.span(window.first, window.last)
        while held_to < end:
            block = next(blocks, None)
            if block is None:
                raise AudioError(f"{recording.name} changed while it was read: it ends before sample {end}")
            held.append(block)
            held_to += len(block)
        samples = torch.cat(held)[begin - held_from :]
        held, held_from = [samples], begin
        yield window, samples[: end - begin]
