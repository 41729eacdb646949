"""Codes of utterances of any lengths through a vocoder's network: in windows, in batches of bounded size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from semtok.audio.lengths import Windows
from semtok.networks.precision import exact_float32
from semtok.networks.scalable_vocoder import ScalableVocoder

# Longer utterances are decoded in windows of so many frames: few enough to bound memory, and to stay in a CPU's cache,
# and so many that what windows overlap, some 40 frames, costs little.
_WINDOW_FRAMES = 1500
# Bounds memory where many windows and utterances are given at once.
_BATCH_FRAMES = 3000


def decode(
    network: ScalableVocoder, codes: Tensor, lengths: Tensor, layers: Sequence[int], speaker: Tensor | None = None
) -> Tensor:
    """Codes -> waveforms. An utterance sounds the same alone and beside any others, whole and in windows.

    Args:
        network: in eval mode.
        codes: int64 [batch, rows, frames] on the network's device.
        lengths: frames of each utterance, int64 [batch].
        layers: of the codes, in their order: some of the network's.
        speaker: embeddings [batch, dim], zeros for no speaker; none by default.

    Returns:
        float32 [batch, frames x hop_length] in [-1, 1], zero past each utterance's length, on the device of the codes.
    """
    hop_length, device = network.hop_length, codes.device
    # In one order, so that sums over layers are the same in whatever order they were asked for.
    rows = network.codebooks.select(layers, owner="the network").rows
    ordered = [layer for layer in network.codebooks if layer in rows]
    codes = torch.cat([codes[:, rows[layer]] for layer in ordered], dim=1)
    positions = [network.codebooks.layers.index(layer) for layer in ordered]
    before, after = network.generator.receptive_frames
    windows = Windows(max(_WINDOW_FRAMES - before - after, before + after), before, after)
    # Together only what is equally long: nothing then depends on padding.
    equally_long = defaultdict(list)
    for number, length in enumerate(lengths.tolist()):
        for window in windows.plan(length) if length else ():
            equally_long[window.last - window.first].append((number, window))
    waveforms = torch.zeros(len(codes), codes.shape[2] * hop_length, dtype=torch.float32, device=device)
    for frames, equal in sorted(equally_long.items()):
        size = max(1, _BATCH_FRAMES // frames)
        for batch in (equal[start : start + size] for start in range(0, len(equal), size)):
            voices = None if speaker is None else speaker[[number for number, _ in batch]].to(device)
            with torch.inference_mode(), exact_float32(device):
                cut = torch.stack([codes[number, :, window.first : window.last] for number, window in batch])
                decoded = (
                    network(cut, positions, speaker=voices).float().clamp(-1, 1).unflatten(1, (frames, hop_length))
                )
            for waveform, (number, window) in zip(decoded, batch, strict=True):
                start, stop = window.start * hop_length, window.stop * hop_length
                waveforms[number, start:stop] = waveform[window.answered].flatten()
    return waveforms
