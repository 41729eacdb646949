"""Generators: one vector a frame -> waveform, `hop_length` samples a frame.

`HiFiGAN` is the generator of the paper; `ISTFTGenerator` predicts short-time spectra instead of samples and is several
times cheaper to train and to run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _pad_same(x: Tensor, amount: int) -> Tensor:
    """Pads the last dimension by reflection on both sides; by its edge where it is too short to reflect."""
    return F.pad(x, (amount, amount), mode="reflect" if x.shape[-1] > amount else "replicate")


class SameConv1d(nn.Conv1d):
    """A convolution that keeps the length, with reflection at the edges."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_pad_same(x, self.dilation[0] * (self.kernel_size[0] - 1) // 2))


class ResidualBlock(nn.Module):
    """HiFi-GAN's residual block of type 1: for each dilation a dilated and a plain convolution around a skip."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(SameConv1d(channels, channels, kernel_size, d) for d in dilations)
        self.convs2 = nn.ModuleList(SameConv1d(channels, channels, kernel_size) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, 0.1)), 0.1))
        return x


class HiFiGAN(nn.Module):
    """HiFi-GAN generator (Kong et al., 2020): transposed convolutions, each followed by residual blocks, all averaged.

    Args:
        dim: of the input vectors.
        channels: after the first convolution; halved by each upsampling.
        upsample_factors: their product is the hop length.
        upsample_kernel_sizes: of the transposed convolutions.
        resblock_kernel_sizes: one residual block each, at every resolution.
        resblock_dilations: of every residual block.
    """

    def __init__(
        self,
        dim: int,
        *,
        channels: int,
        upsample_factors: Sequence[int],
        upsample_kernel_sizes: Sequence[int],
        resblock_kernel_sizes: Sequence[int],
        resblock_dilations: Sequence[int],
    ) -> None:
        super().__init__()
        self.hop_length = math.prod(upsample_factors)
        self.conv_pre = SameConv1d(dim, channels, 7)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for factor, kernel in zip(upsample_factors, upsample_kernel_sizes, strict=True):
            self.ups.append(nn.ConvTranspose1d(channels, channels // 2, kernel, factor, padding=(kernel - factor) // 2))
            channels //= 2
            self.resblocks.append(
                nn.ModuleList(ResidualBlock(channels, k, resblock_dilations) for k in resblock_kernel_sizes)
            )
        self.conv_post = SameConv1d(channels, 1, 7)

    def forward(self, features: Tensor) -> Tensor:
        """features [batch, frames, dim] -> waveform [batch, frames x hop_length] in [-1, 1]."""
        x = self.conv_pre(features.transpose(1, 2))
        for up, blocks in zip(self.ups, self.resblocks, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            x = torch.stack([block(x) for block in cast(nn.ModuleList, blocks)]).mean(0)
        # The published vocoders use leaky ReLU's default slope here, unlike everywhere else.
        return torch.tanh(self.conv_post(F.leaky_relu(x))).squeeze(1)


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


class ISTFTGenerator(nn.Module):
    """ConvNeXt blocks at frame rate with an inverse-STFT head (the design of Vocos, Siuzdak, 2023).

    Each frame gives `hop_length / stft_hop_length` short-time spectra: windows short enough for pitch pulses, while the
    blocks run once a frame.

    Args:
        dim: of the input vectors.
        hop_length: samples a frame.
        width: of the blocks.
        hidden: of their inner layer.
        blocks: how many.
        n_fft: samples of a window.
        stft_hop_length: samples between windows, a divisor of `hop_length`.
    """

    def __init__(
        self, dim: int, *, hop_length: int, width: int, hidden: int, blocks: int, n_fft: int, stft_hop_length: int
    ) -> None:
        super().__init__()
        self.hop_length, self.stft_hop_length, self.n_fft = hop_length, stft_hop_length, n_fft
        self.conv_pre = nn.Conv1d(dim, width, 7, padding=3)
        self.norm_pre = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, hidden, 1 / blocks) for _ in range(blocks))
        self.norm_post = nn.LayerNorm(width)
        self.head = nn.Linear(width, hop_length // stft_hop_length * (n_fft + 2))

    def forward(self, features: Tensor) -> Tensor:
        """features [batch, frames, dim] -> waveform [batch, frames x hop_length], not bounded."""
        x = self.norm_pre(self.conv_pre(features.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        spectra = self.head(self.norm_post(x)).float().unflatten(-1, (-1, self.n_fft + 2)).flatten(1, 2)
        log_magnitude, phase = spectra.chunk(2, dim=-1)
        # Vocos bounds the magnitude so that a bad step cannot overflow the exponential.
        spectra = torch.polar(log_magnitude.exp().clamp(max=1e2), phase)
        return self._overlap_add(torch.fft.irfft(spectra, self.n_fft))

    def _overlap_add(self, windows: Tensor) -> Tensor:
        """[batch, spectra, n_fft] -> [batch, spectra x stft_hop_length], normalised by the squared window."""
        hop, count = self.stft_hop_length, windows.shape[1]
        edge = (self.n_fft - hop) // 2
        # Made anew, as a buffer would be rounded with a model in half precision.
        window = torch.hann_window(self.n_fft, dtype=windows.dtype, device=windows.device)

        def fold(x: Tensor) -> Tensor:
            size = (1, (count - 1) * hop + self.n_fft)
            folded = F.fold(x.transpose(1, 2), size, kernel_size=(1, self.n_fft), stride=(1, hop))
            return folded[:, 0, 0, edge : edge + count * hop]

        return fold(windows * window) / fold(window.square().expand(1, count, -1))
