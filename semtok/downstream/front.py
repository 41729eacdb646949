"""The front of every task: tokens of several layers, or features of them, -> one vector a frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    """Fuses the layers, as `FrontConfig.fusion` says.

    Attention is that of the layer selector (Mousavi et al., 2024, section 2.2), mixed with the mean of the layers by
    `floor`: (1 - floor) softmax + floor / layers. Gates are sigmoids of the same scores, and do not compete.
    Concatenation is one linear map of all layers, so a sum of a map of each; with a rank it is the product of two.

    Args:
        config: how.
        codebooks: of the layers.
    """

    def __init__(self, config: FrontConfig, codebooks: Codebooks) -> None:
        super().__init__()
        self.fusion, self.floor = config.fusion, config.floor
        attention_dim = config.attention_dim or 1
        self.selector = (
            LayerSelector(codebooks, config.dim, attention_dim)
            if config.feature_dim is None
            else FeatureSelector(codebooks, config.dim, attention_dim, config.feature_dim)
        )
        if config.attention_dim is None:
            del self.selector.score
        self.concatenate = self.expand = None
        if self.fusion == "concatenate":
            self.concatenate = nn.Linear(len(codebooks) * config.dim, config.rank or config.dim)
            self.expand = None if config.rank is None else nn.Linear(config.rank, config.dim, bias=False)

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
            Fused vectors [batch, frames, dim], 0 past the lengths and where hidden; the shares of the layers
            [batch, layers, frames], which sum to 1 over layers and are 0 past the lengths. A share is the weight of
            attention; the gate, or with concatenation the norm of what the layer's map adds (Kobayashi et al.,
            "Attention is Not Only a Weight", 2020), divided by the sum over layers.
        """
        valid = frame_mask(lengths, inputs.shape[2])
        if not inputs.is_floating_point():
            inputs = inputs.clamp(min=0)  # padding
        embedded = self.selector.embed(inputs)
        if self.concatenate is not None:
            fused, shares = self._map(embedded, self.concatenate, present)
        else:
            fused, shares = self._weigh(inputs, embedded, present)
        seen = valid if hidden is None else valid & ~hidden
        return fused * seen[:, :, None], shares * valid[:, None]

    def _weigh(self, inputs: Tensor, embedded: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, even = self.selector.fuse(embedded, embedded.new_zeros(embedded.shape[:3]), present)
        if self.fusion == "uniform":
            return mean, even
        scores = self.selector.scores(inputs, embedded)
        if self.fusion == "gates":
            gates = scores.sigmoid() if present is None else scores.sigmoid() * present[:, :, None]
            # the softmax of log-gates: gates over their sum, also where all of them are closed
            _, shares = self.selector.fuse(embedded, F.logsigmoid(scores), present)
            return (gates[..., None] * embedded).sum(dim=1), shares
        fused, shares = self.selector.fuse(embedded, scores, present)
        return fused.lerp(mean, self.floor), shares.lerp(even, self.floor)

    def _map(self, embedded: Tensor, concatenate: nn.Linear, present: Tensor | None) -> tuple[Tensor, Tensor]:
        maps = concatenate.weight.unflatten(1, (embedded.shape[1], -1))
        added = torch.einsum("blfd,old->blfo", embedded, maps)
        if present is not None:
            added = added * present[:, :, None, None]
        fused = added.sum(dim=1) + concatenate.bias
        if self.expand is not None:
            fused, added = self.expand(fused), self.expand(added)
        norms = added.norm(dim=-1)
        return fused, norms / norms.sum(dim=1, keepdim=True).clamp(min=torch.finfo(norms.dtype).tiny)
