"""The ConvNeXt block of the inverse-STFT generator and the speaker encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block over frames (Liu et al., 2022): depthwise convolution, layer norm, two linear layers, scaled."""

    def __init__(self, width: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames, width] -> the same."""
        mixed = self.norm(self.depthwise(x.transpose(1, 2)).transpose(1, 2))
        change: Tensor = self.scale * self.contract(F.gelu(self.expand(mixed)))
        return x + change
