"""Attention that looks near first: a start for WavLM's relative position bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from semtok.errors import ConfigError

if TYPE_CHECKING:
    from transformers import WavLMModel

# WavLM multiplies the bias by a gate of each query, which is in (1, 2) where the layer's constant is 1; of inputs near
# zero it is this.
_GATE_AT_START = 1.75


@torch.no_grad()
def start_near(model: WavLMModel, before: Sequence[float], after: Sequence[float]) -> None:
    """Starts the bias of each head as a penalty that grows with the distance, as ALiBi's (Press et al., 2022) does.

    Training may change the bias, but not the constants of the gates: with them free, a head can shut its gate and look
    at everything. Transformers' own WavLM runs the result, and windows of a recording agree with one pass over it, as
    hardly any attention goes beyond a few seconds.

    Args:
        model: its first layer holds the table that all layers share.
        before: what a score loses for each frame that a key is before the query, of each head.
        after: the same for keys after the query.

    Raises:
        ConfigError: the model has no relative position bias, or another number of heads.
    """
    heads = model.config.num_attention_heads
    if model.config.model_type != "wavlm" or len(before) != heads or len(after) != heads:
        raise ConfigError(
            f"attention_decay needs a wavlm and a number for each of its {heads} heads before and after, got a "
            f"{model.config.model_type} with {list(before)} and {list(after)}"
        )
    attention = model.encoder.layers[0].attention
    distances = torch.arange(-model.config.max_bucket_distance, model.config.max_bucket_distance + 1)
    buckets = attention._relative_positions_bucket(distances)
    slopes = torch.where(distances[:, None] < 0, torch.tensor(before), torch.tensor(after))
    penalties = -distances.abs()[:, None] * slopes / _GATE_AT_START
    table = attention.rel_attn_embed.weight
    sums = torch.zeros_like(table).index_add_(0, buckets, penalties)
    counts = torch.zeros(len(table)).index_add_(0, buckets, torch.ones(len(buckets)))
    table.copy_(sums / counts.clamp(min=1)[:, None])
    for layer in model.encoder.layers:
        layer.attention.gru_rel_pos_const.fill_(1)
    keep_gates(model)


def keep_gates(model: WavLMModel) -> None:
    """Keeps the constants of the gates as they are in what training follows, so that attention stays as near."""
    for layer in model.encoder.layers:
        layer.attention.gru_rel_pos_const.requires_grad_(False)
