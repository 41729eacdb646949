"""Attention of WavLM with a gated relative position bias (Chen et al., 2022, arXiv 2110.13900, section III-B)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from semtok.encoder.config import WavLMConfig
from semtok.encoder.layers import Attention, split_heads


class GatedAttention(Attention):
    """Attention whose bias by distance is gated by each query.

    Args:
        config: of the encoder.
        has_table: whether it has the table of biases, as the first layer has for all layers.
    """

    def __init__(self, config: WavLMConfig, *, has_table: bool) -> None:
        super().__init__(config)
        heads = config.num_attention_heads
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.gru_rel_pos_linear = nn.Linear(config.hidden_size // heads, 8)
        if has_table:
            self.rel_attn_embed = nn.Embedding(config.num_buckets, heads)
        self._max_distance = config.max_bucket_distance

    def position_bias(self, frames: int) -> Tensor:
        """The biases of all pairs of frames, [heads, frames, frames], in memory as attention reads them."""
        table = self.rel_attn_embed.weight
        # Of each distance once, and not of each pair: the bias of a query is a window of this row, one earlier for
        # each query.
        biases = table.T[:, self._buckets(torch.arange(1 - frames, frames, device=table.device))]
        if torch.compiler.is_compiling():
            # windows of a size that is a symbol would fix the length of an exported graph
            places = torch.arange(frames, device=table.device)
            return biases[:, frames - 1 + places - places[:, None]]
        return biases.unfold(1, frames, 1).flip(1)

    def _buckets(self, distances: Tensor) -> Tensor:
        """Distances int64 in frames -> buckets: exact ones for near keys, ever wider ones for far keys."""
        buckets = len(self.rel_attn_embed.weight) // 2
        exact = buckets // 2
        far = distances.abs()
        steps = torch.log(far.float() / exact) / math.log(self._max_distance / exact) * (buckets - exact)
        wide = (exact + steps).long().clamp(max=buckets - 1)
        return torch.where(far < exact, far, wide) + (distances > 0) * buckets

    def forward(self, hidden: Tensor, position_bias: Tensor, mask: Tensor | None) -> Tensor:  # type: ignore[override]
        """hidden [batch, frames, dim]; `mask` is [batch, 1, 1, frames], -inf for padded keys, or None."""
        gates = self.gru_rel_pos_linear(split_heads(hidden, self.num_heads)).unflatten(3, (2, 4)).sum(4)
        gate_a, gate_b = torch.sigmoid(gates).chunk(2, dim=3)
        bias = (gate_a * (gate_b * self.gru_rel_pos_const - 1) + 2) * position_bias
        if mask is not None:
            bias += mask
        return super().forward(hidden, bias)
