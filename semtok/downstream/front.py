"""The front of every task: tokens of several layers, or features of them, -> one vector a frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semtok.audio.lengths import frame_mask
from semtok.codebooks.codebooks import Codebooks
from semtok.downstream.config import FrontConfig
from semtok.networks.selector import LayerSelector


class FeatureSelector(LayerSelector):
    """The layer selector with a linear map of each layer's features, at unit variance, in place of its tables."""

    def __init__(self, codebooks: Codebooks, dim: int, attention_dim: int, feature_dim: int) -> None:
        super().__init__(Codebooks(dict.fromkeys(codebooks, (1,))), dim, attention_dim)
        del self.embeddings
        self.maps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(feature_dim, elementwise_affine=False), nn.Linear(feature_dim, dim))
            for _ in codebooks
        )

    def embed(self, codes: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        """Features [batch, layers, frames, feature_dim] of all layers -> [batch, layers, frames, dim]."""
        return torch.stack([map_(layer) for map_, layer in zip(self.maps, codes.unbind(1), strict=True)], dim=1)

    def scores(self, codes: Tensor, embedded: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        scores: Tensor = self.score(embedded).squeeze(-1)
        return scores


class Front(nn.Module):
    """Fuses the layers, by the layer selector or one of the baselines.

    Args:
        config: how.
        codebooks: of the layers.
    """

    def __init__(self, config: FrontConfig, codebooks: Codebooks) -> None:
        super().__init__()
        self.fusion = config.fusion
        attention_dim = config.attention_dim or 1
        self.selector = (
            LayerSelector(codebooks, config.dim, attention_dim)
            if config.feature_dim is None
            else FeatureSelector(codebooks, config.dim, attention_dim, config.feature_dim)
        )
        if self.fusion != "attention":
            del self.selector.score
        self.concatenate = nn.Linear(len(codebooks) * config.dim, config.dim) if self.fusion == "concatenate" else None

    def forward(
        self, inputs: Tensor, lengths: Tensor, present: Tensor | None = None, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Padding and absent layers take part in nothing.

        Args:
            inputs: codes int64 [batch, rows, frames], or features [batch, layers, frames, feature_dim].
            lengths: int64 [batch], frames of each utterance.
            present: bool [batch, layers], False for absent layers; at least one True an utterance.
            hidden: bool [batch, frames], True for frames to leave out (time masking).

        Returns:
            Fused vectors [batch, frames, dim], 0 past the lengths and where hidden; the weights of the layers
            [batch, layers, frames], which sum to 1 over layers and are 0 past the lengths.
        """
        valid = frame_mask(lengths, inputs.shape[2])
        if not inputs.is_floating_point():
            inputs = inputs.clamp(min=0)  # padding
        embedded = self.selector.embed(inputs)
        if self.fusion == "attention":
            scores = self.selector.scores(inputs, embedded)
        else:
            scores = embedded.new_zeros(embedded.shape[:3])
        fused, weights = self.selector.fuse(embedded, scores, present)
        if self.concatenate is not None:
            fused = self.concatenate(embedded.transpose(1, 2).flatten(2))
        seen = valid if hidden is None else valid & ~hidden
        return fused * seen[:, :, None], weights * valid[:, None]
