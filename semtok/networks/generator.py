"""Generators: one vector a frame -> waveform, `hop_length` samples a frame.

`HiFiGAN` is the generator of the paper; `ISTFTGenerator` predicts short-time spectra instead of samples and is several
times cheaper to train and to run.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _to_picture(vectors: Tensor) -> Tensor:
    """[batch, frames, channels] -> [batch, channels, 1, frames], in memory as the device convolves it fastest.

    On a CPU channels lie last, as they do in `vectors`: narrow convolutions are then up to twice as fast as those of
    [batch, channels, frames]. A picture one pixel high is what torch knows channels-last convolutions for.
    """
    picture = vectors.transpose(1, 2)[:, :, None]
    return picture if picture.device.type == "cpu" else picture.contiguous()


class SameConv1d(nn.Conv1d):
    """A convolution that keeps the length of a picture [batch, channels, 1, time], with reflection at the edges.

    Args:
        slope: of the leaky ReLU in front of it; 1 for none.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1, *, slope: float = 1.0
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.slope = slope

    @property
    def reach(self) -> int:
        """How many samples before, and as many after, a sample depends on."""
        return self.dilation[0] * (self.kernel_size[0] - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        # Too short to reflect, the edge is repeated.
        mode = "reflect" if x.shape[-1] > self.reach else "replicate"
        padded = F.pad(x, (self.reach, self.reach, 0, 0), mode=mode)
        if self.slope != 1:
            # In the copy just made, for speed.
            padded = F.leaky_relu_(padded, self.slope)
        return F.conv2d(padded, self.weight[:, :, None], self.bias, dilation=(1, self.dilation[0]))


class Upsampling(nn.ConvTranspose1d):
    """A leaky ReLU, and a transposed convolution of a picture that makes exactly `factor` samples of each."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, factor: int) -> None:
        overlap = (kernel_size - factor) // 2
        super().__init__(in_channels, out_channels, kernel_size, factor, padding=overlap)
        self.overlap = overlap  # by how much what is made of a sample reaches into what its neighbours give

    def source(self, first: int, last: int) -> tuple[int, int]:
        """The first and the last sample that these samples are made of."""
        factor = self.stride[0]
        return (first - self.overlap) // factor, (last + self.overlap) // factor

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight, stride, padding = self.weight[:, :, None], (1, self.stride[0]), (0, self.overlap)
        return F.conv_transpose2d(F.leaky_relu(x, 0.1), weight, self.bias, stride, padding)


class ResidualBlock(nn.Module):
    """HiFi-GAN's residual block of type 1: for each dilation a dilated and a plain convolution around a skip."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(SameConv1d(channels, channels, kernel_size, d, slope=0.1) for d in dilations)
        self.convs2 = nn.ModuleList(SameConv1d(channels, channels, kernel_size, slope=0.1) for _ in dilations)

    @property
    def reach(self) -> int:
        """How many samples before, and as many after, a sample depends on."""
        return sum(cast(SameConv1d, conv).reach for conv in [*self.convs1, *self.convs2])

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = plain(dilated(x)).add_(x)
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
            self.ups.append(Upsampling(channels, channels // 2, kernel, factor))
            channels //= 2
            self.resblocks.append(
                nn.ModuleList(ResidualBlock(channels, k, resblock_dilations) for k in resblock_kernel_sizes)
            )
        # The published vocoders use leaky ReLU's default slope here, unlike everywhere else.
        self.conv_post = SameConv1d(channels, 1, 7, slope=0.01)

    @property
    def receptive_frames(self) -> tuple[int, int]:
        """How many frames before, and how many after, its own the samples of a frame depend on."""
        first, last = -self.conv_post.reach, self.hop_length - 1 + self.conv_post.reach
        for up, blocks in zip(reversed(self.ups), reversed(self.resblocks), strict=True):
            reach = max(cast(ResidualBlock, block).reach for block in cast(nn.ModuleList, blocks))
            first, last = cast(Upsampling, up).source(first - reach, last + reach)
        return self.conv_pre.reach - first, last + self.conv_pre.reach

    def forward(self, features: Tensor) -> Tensor:
        """features [batch, frames, dim] -> waveform [batch, frames x hop_length] in [-1, 1]."""
        x = self.conv_pre(_to_picture(features))
        for up, module in zip(self.ups, self.resblocks, strict=True):
            blocks = cast(nn.ModuleList, module)
            x = up(x)
            x = functools.reduce(torch.add, (block(x) for block in blocks)) / len(blocks)
        return torch.tanh(self.conv_post(x)).flatten(1)


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

    @property
    def receptive_frames(self) -> tuple[int, int]:
        """How many frames before, and how many after, its own the samples of a frame depend on."""
        convolutions = 3 * (1 + len(self.blocks))
        # A window reaches as far beyond the samples that it stands for on either side.
        overlap = math.ceil((self.n_fft - self.stft_hop_length) // 2 / self.hop_length)
        return convolutions + overlap, convolutions + overlap

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
