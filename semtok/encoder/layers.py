"""Transformer layers of the encoders: attention, feed-forward networks, and the layers made of them.

Weights have the names that they have in transformers. Tensors are [batch, frames, dim].
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from semtok.encoder.config import ConvolutionalConfig, EncoderConfig


def activation(name: str) -> nn.Module:
    """The activation that transformers calls so."""
    if name == "gelu_new":
        return nn.GELU(approximate="tanh")
    known: dict[str, type[nn.Module]]
    known = {"gelu": nn.GELU, "relu": nn.ReLU, "selu": nn.SELU, "silu": nn.SiLU, "swish": nn.SiLU}
    return known[name]()


def layer_norm(config: EncoderConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


def split_heads(projected: Tensor, count: int) -> Tensor:
    """[batch, frames, dim] -> [batch, heads, frames, dim / heads]."""
    return projected.reshape(*projected.shape[:2], count, -1).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention of many heads. A bias that fits [batch, heads, frames, frames] is added to scores."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim, self.num_heads = config.hidden_size, config.num_attention_heads
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        projections = self.q_proj, self.k_proj, self.v_proj
        query, key, value = (split_heads(project(hidden), self.num_heads) for project in projections)
        attended = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """Two linear layers and an activation between them."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation(config.hidden_act)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.output_dense(self.activation(self.intermediate_dense(hidden)))
        return output


class Adapter(nn.Module):
    """A bottleneck behind a layer, for a language (Pratap et al., 2023, arXiv 2305.13516, section 4.3)."""

    def __init__(self, dim: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear_1 = nn.Linear(dim, bottleneck)
        self.linear_2 = nn.Linear(bottleneck, dim)

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.linear_2(self.linear_1(self.norm(hidden)).relu())
        return output


class TransformerLayer(nn.Module):
    """Attention and a feed-forward network, with norms before them, or after them as in the base models.

    Args:
        config: of the encoder.
        attention: (hidden, *terms) -> attended, of the same shape.
        adapter: dim of the adapter's bottleneck; None for no adapter. Encoders with norms after have none.
    """

    def __init__(self, config: ConvolutionalConfig, attention: nn.Module, adapter: int | None = None) -> None:
        super().__init__()
        self.attention = attention
        self.layer_norm = layer_norm(config)
        self.feed_forward = FeedForward(config)
        self.final_layer_norm = layer_norm(config)
        self._pre_norm = config.do_stable_layer_norm
        self.adapter_layer = Adapter(config.hidden_size, adapter) if self._pre_norm and adapter is not None else None

    def forward(self, hidden: Tensor, *terms: Tensor | None) -> Tensor:
        if self._pre_norm:
            hidden = hidden + self.attention(self.layer_norm(hidden), *terms)
            hidden = hidden + self.feed_forward(self.final_layer_norm(hidden))
            if self.adapter_layer is not None:
                hidden = hidden + self.adapter_layer(hidden)
        else:
            hidden = self.layer_norm(hidden + self.attention(hidden, *terms))
            hidden = self.final_layer_norm(hidden + self.feed_forward(hidden))
        return hidden
