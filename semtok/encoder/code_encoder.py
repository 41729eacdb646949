"""Encoder and codebooks in one module: waveforms -> codes of the layers asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from semtok.audio.lengths import frame_mask
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer
from semtok.codebooks.quantizer import ResidualQuantizer
from semtok.encoder.encoder import Encoder
from semtok.encoder.statistics import Statistics
from semtok.networks.precision import exact_float32


class CodeEncoder(nn.Module):
    """A frozen encoder, and a quantizer for each layer with centroids. A clip gets the same codes in any batch.

    Args:
        encoder: waveforms -> features.
        centroids: [codebook_size, dim] of each residual stage, by layer.
    """

    def __init__(self, encoder: Encoder, centroids: Mapping[Layer, Sequence[Tensor]]) -> None:
        super().__init__()
        self.encoder = encoder
        self.framing = encoder.framing
        device = next(encoder.parameters()).device
        self._layers = tuple(centroids)
        self._quantizers = nn.ModuleList(ResidualQuantizer(stages).to(device) for stages in centroids.values())

    def quantizer(self, layer: Layer) -> ResidualQuantizer:
        quantizer = self._quantizers[self._layers.index(layer)]
        assert isinstance(quantizer, ResidualQuantizer)
        return quantizer

    def centroids(self) -> dict[Layer, list[Tensor]]:
        """Centroids [codebook_size, dim] of each residual stage, by layer."""
        return {layer: [stage.centroids for stage in self.quantizer(layer).stages] for layer in self._layers}

    def statistics(self, blocks: Iterable[Tensor]) -> Statistics:
        """The statistics of a recording, as in `Encoder.statistics`."""
        return self.encoder.statistics(blocks)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        layers: Sequence[Layer],
        statistics: Sequence[Statistics] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Arguments and errors as in `Encoder.forward`.

        Returns:
            Codes int64 [batch, rows, frames] of the layers in the order asked, -1 past each clip's frames; frames of
            each clip, int64 [batch].
        """
        features, frames = self.encoder(waveforms, lengths, layers, statistics)
        with exact_float32(waveforms.device):
            codes = [self.quantizer(layer)(one) for layer, one in zip(layers, features.unbind(1), strict=True)]
        rows = torch.cat(codes, dim=2).transpose(1, 2)
        return rows.masked_fill(~frame_mask(frames, rows.shape[2])[:, None], -1), frames

    def margins(self, features: Tensor, layers: Sequence[Layer]) -> Tensor:
        """How far each frame is from another code: float64 [batch, rows, frames] on the CPU; see `Quantizer.margins`.

        Args:
            features: [batch, layers, frames, dim].
            layers: of the features, in their order.
        """
        with exact_float32(features.device):
            margins = [
                self.quantizer(layer).margins(one) for layer, one in zip(layers, features.unbind(1), strict=True)
            ]
        return torch.cat(margins, dim=2).transpose(1, 2)

    def embed(self, codes: Tensor, codebooks: Codebooks) -> Tensor:
        """The centroids of codes [batch, rows, frames], summed over stages: float32 [batch, layers, frames, dim]."""
        vectors = [
            self.quantizer(layer).embed(codes[:, rows].clamp(min=0).transpose(1, 2))
            for layer, rows in codebooks.rows.items()
        ]
        return torch.stack(vectors, dim=1)
