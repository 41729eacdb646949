"""A Conformer in which padding takes part in nothing: layer norm, rotary positions, masked convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.audio.lengths import frame_mask
from semtok.errors import MOST_LAYERS, ConfigError, check_sizes


@dataclass(frozen=True)
class ConformerConfig:
    """Sizes of a Conformer; `kernel` is that of its convolutions, in frames."""

    dim: int
    layers: int
    heads: int
    feedforward: int
    kernel: int = 31
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_sizes(self, "dim", "heads", "feedforward", "kernel")
        check_sizes(self, "layers", most=MOST_LAYERS)
        if self.dim % (2 * self.heads) or self.kernel % 2 == 0:
            raise ConfigError(
                f"dim {self.dim} must be a multiple of twice the heads, {self.heads}, and kernel {self.kernel} odd"
            )


class Conformer(nn.Module):
    """Gulati et al. (2020), with layer norm in place of batch norm, so that an utterance alone equals it in a batch."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[batch, frames, dim] of these lengths, int64 [batch] -> the same shape, 0 past the lengths."""
        valid = frame_mask(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, valid)
        return x * valid[:, :, None]


class ConformerBlock(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        dim, dropout = config.dim, config.dropout
        self.feedforward_1 = _feedforward(dim, config.feedforward, dropout)
        self.attention = Attention(dim, config.heads, dropout)
        self.convolution = Convolution(dim, config.kernel, dropout)
        self.feedforward_2 = _feedforward(dim, config.feedforward, dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        x = x + 0.5 * self.feedforward_1(x)
        x = x + self.attention(x, valid)
        x = x + self.convolution(x, valid)
        x = x + 0.5 * self.feedforward_2(x)
        normed: Tensor = self.norm(x)
        return normed


def _feedforward(dim: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.SiLU(), nn.Dropout(dropout)),
        *(nn.Linear(hidden, dim), nn.Dropout(dropout)),
    )


class Attention(nn.Module):
    """Self-attention over the valid frames, with rotary positions (Su et al., 2021)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.input = nn.Linear(dim, 3 * dim)
        self.output = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        batch, frames, dim = x.shape
        projected = self.input(self.norm(x)).view(batch, frames, 3, self.heads, dim // self.heads)
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            _rotate(queries), _rotate(keys), values, attn_mask=valid[:, None, None]
        )
        output: Tensor = self.output(attended.transpose(1, 2).reshape(batch, frames, dim))
        return output


def _rotate(x: Tensor) -> Tensor:
    """Turns pairs of dimensions of [batch, heads, frames, dim] by angles that grow with the frame."""
    frames, half = x.shape[2], x.shape[3] // 2
    rates = 10000 ** (-torch.arange(half, device=x.device) / half)
    angles = torch.arange(frames, device=x.device)[:, None] * rates
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class Convolution(nn.Module):
    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(dim)
        self.input = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim), nn.Dropout(dropout))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        x = F.glu(self.input(self.norm_in(x)), dim=-1) * valid[:, :, None]
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        output: Tensor = self.output(self.norm(x))
        return output
