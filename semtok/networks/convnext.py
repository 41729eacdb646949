"""The ConvNeXt block of the inverse-STFT generator and the speaker encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrameConv1d(nn.Conv1d):
    """A convolution over 7 frames that sees `ahead` of them after a frame, 0 to 6, and gives as many as it gets."""

    def __init__(self, in_channels: int, out_channels: int, *, ahead: int = 3, groups: int = 1) -> None:
        # Padded alike on both sides by torch, whose answers to the last bit published tokens and speech have.
        super().__init__(in_channels, out_channels, 7, padding=3 if ahead == 3 else 0, groups=groups)
        self.ahead = ahead

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, frames] -> the same frames."""
        return super().forward(x if self.ahead == 3 else F.pad(x, (6 - self.ahead, self.ahead)))


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block over frames (Liu et al., 2022): depthwise convolution, layer norm, two linear layers, scaled.

    Its convolution sees `ahead` frames after a frame, of 7.
    """

    def __init__(self, width: int, hidden: int, scale: float, *, ahead: int = 3) -> None:
        super().__init__()
        self.depthwise = FrameConv1d(width, width, ahead=ahead, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames, width] -> the same."""
        mixed = self.norm(self.depthwise(x.transpose(1, 2)).transpose(1, 2))
        change: Tensor = self.scale * self.contract(F.gelu(self.expand(mixed)))
        return x + change
