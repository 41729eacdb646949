"""Codes of utterances of any lengths -> waveforms, by a vocoder's network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semtok.audio.lengths import Windows
from semtok.codebooks.layers import Layer
from semtok.networks.precision import exact_float32
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.networks.sequences import run

# Frames of a window of longer utterances: few enough to bound memory and to fit a CPU's cache, and enough for the
# overlap of windows, some 40 frames, to cost little.
_WINDOW_FRAMES = 1500
# Frames of a batch of windows, which bound memory.
_BATCH_FRAMES = 3000


def decode(
    network: ScalableVocoder, codes: Tensor, lengths: Tensor, layers: Sequence[Layer], speaker: Tensor | None = None
) -> Tensor:
    """Codes -> waveforms. An utterance sounds the same alone and beside any others, whole and in windows.

    Args:
        network: in eval mode.
        codes: int64 [batch, rows, frames] on the network's device.
        lengths: frames of each utterance, int64 [batch].
        layers: of the network that the codes are of, in the order of the codes.
        speaker: embeddings [batch, dim], zeros for no speaker; none by default.

    Returns:
        float32 [batch, frames x hop_length] in [-1, 1], zero past each utterance's length, on the device of the codes.
    """
    hop_length, device = network.hop_length, codes.device
    # In the network's order, so that sums over layers do not depend on the order of `layers`.
    rows = network.codebooks.select(layers, owner="the network").rows
    ordered = [layer for layer in network.codebooks if layer in rows]
    codes = torch.cat([codes[:, rows[layer]] for layer in ordered], dim=1)
    positions = [network.codebooks.layers.index(layer) for layer in ordered]
    before, after = network.generator.receptive_frames
    windows = Windows(max(_WINDOW_FRAMES - before - after, before + after), before, after)

    def decode_batch(batch: Tensor, _: Tensor, numbers: list[int]) -> Tensor:
        voices = None if speaker is None else speaker[numbers].to(device)
        with torch.inference_mode(), exact_float32(device):
            decoded = network(batch, positions, speaker=voices).float().clamp(-1, 1)
        frames: Tensor = decoded.unflatten(1, (batch.shape[2], hop_length))
        return frames

    waveforms = torch.zeros(len(codes), codes.shape[2] * hop_length, dtype=torch.float32, device=device)
    utterances = [utterance[:, :length] for utterance, length in zip(codes, lengths.tolist(), strict=True)]
    # The generator sees padding, so only windows of the same length are decoded together.
    for piece, frames in run(decode_batch, utterances, windows, _BATCH_FRAMES, equal=True):
        start, stop = piece.window.start * hop_length, piece.window.stop * hop_length
        waveforms[piece.sequence, start:stop] = frames.flatten()
    return waveforms
