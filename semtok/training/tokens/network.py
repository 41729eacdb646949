"""Rows, their losses, and the layers of the encoder that learn with them, as one network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from semtok.audio.lengths import frame_mask
from semtok.encoder.encoder import Encoder, normalized
from semtok.training.tokens.losses import Batch
from semtok.training.tokens.rows import LearntRow


class States(NamedTuple):
    """Clips as the frozen part of an encoder leaves them.

    Args:
        clips: numbers of the clips.
        waveforms: float32 [batch, samples].
        layers: features [batch, frames, dim] of some layers, the last frozen one among them.
        terms: what each further layer takes for its attention.
        lengths: frames of each clip, int64 [batch].
    """

    clips: Sequence[int]
    waveforms: Tensor
    layers: dict[int, Tensor]
    terms: tuple[Tensor | None, ...]
    lengths: Tensor


def run_frozen(
    encoder: Encoder, clips: Sequence[int], waveforms: Tensor, samples: Tensor, layers: Sequence[int], last: int
) -> States:
    """Runs an encoder on waveforms [batch, samples] up to its `last` frozen layer, for those of `layers` up to it."""
    read = sorted({layer for layer in layers if layer < last} | {last})
    features, lengths = encoder(waveforms, samples, read)
    valid = frame_mask(lengths, features.shape[2])
    mask = torch.zeros(valid.shape, device=valid.device).masked_fill(~valid, -torch.inf)[:, None, None]
    with torch.no_grad():
        terms = encoder.model.attention_terms(features.shape[2], mask)
    return States(clips, waveforms, dict(zip(read, features.unbind(1), strict=True)), terms, lengths)


class TokensNetwork(nn.Module):
    """Rows, the losses of each by its name, and the layers `top` of the encoder, which follow the frozen ones.

    `layers` are those that are mixed, in the order of the weights of the rows.
    """

    def __init__(
        self, layers: Sequence[int], rows: dict[str, LearntRow], losses: dict[str, nn.ModuleDict], top: nn.ModuleList
    ) -> None:
        super().__init__()
        self.layers, self.names = tuple(layers), tuple(rows)
        self.rows = nn.ModuleList(rows.values())
        self.losses = nn.ModuleList(losses[name] for name in rows)
        self.top = top.requires_grad_(True)

    def features(self, states: States) -> Tensor:
        """Normalised features of all layers, [layers, batch, frames, dim]."""
        computed = dict(states.layers)
        last = max(computed)
        for number, layer in enumerate(self.top, last + 1):
            computed[number] = layer(computed[number - 1], *states.terms)
        return torch.stack([normalized(computed[layer]) for layer in self.layers])

    def forward(self, states: States, temperature: float) -> dict[str, Tensor]:
        """Each loss of each row, by "row_loss", without its weight."""
        features = self.features(states)
        batch = Batch(states.clips, states.waveforms, features, states.lengths)
        valid = frame_mask(states.lengths, features.shape[2])
        frames = features[:, valid]
        numbers: dict[str, Tensor] = {}
        for name, row, losses in zip(self.names, cast("list[LearntRow]", self.rows), self.losses, strict=True):
            # Distances of less precision would be of other codes than those of the tokenizer.
            with torch.autocast(frames.device.type, enabled=False):
                quantized = row(row.mix(frames.float()), temperature)
            vectors = torch.zeros(*valid.shape, frames.shape[2], device=frames.device)
            vectors[valid] = quantized.vectors
            for loss, module in cast("nn.ModuleDict", losses).items():
                numbers[f"{name}_{loss}"] = module(vectors, batch)
            entropy = torch.special.entr(quantized.use.float()).sum()
            numbers[f"{name}_use"] = 1 - entropy / math.log(len(quantized.use))
        return numbers
