"""HiFi-GAN, the generator of the paper: vectors -> samples by transposed convolutions."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.errors import ConfigError, check_sizes
from semtok.networks.generators.generator import Generator


@dataclass(frozen=True)
class HiFiGANConfig:
    """Sizes of `HiFiGAN`.

    Args:
        channels: after the first convolution. Each upsampling halves the channels.
        upsample_factors: of the transposed convolutions. The product of the factors is the hop length.
        upsample_kernel_sizes: of the transposed convolutions.
        resblock_kernel_sizes: of the residual blocks after each transposed convolution, one block for each size.
        resblock_dilations: of the convolutions of every residual block.
        padding: at the edges of convolutions, "reflect" as SpeechBrain's, or "zeros" as the original and fairseq's.
    """

    title: ClassVar[str] = "HiFi-GAN"

    channels: int
    upsample_factors: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilations: tuple[int, ...]
    padding: str = "reflect"

    def __post_init__(self) -> None:
        check_sizes(self, "channels", "upsample_factors", "upsample_kernel_sizes")
        check_sizes(self, "resblock_kernel_sizes", "resblock_dilations", most=1 << 12)
        factors, kernels = self.upsample_factors, self.upsample_kernel_sizes
        # With other kernels a transposed convolution would not give exactly `factor` samples for each sample.
        if len(factors) != len(kernels) or any(k < f or (k - f) % 2 for f, k in zip(factors, kernels, strict=True)):
            raise ConfigError(
                f"each of upsample_factors {factors} needs a kernel as large or larger by an even number, got {kernels}"
            )
        if self.channels % 2 ** len(factors):
            raise ConfigError(f"channels {self.channels} cannot be halved {len(factors)} times")
        if not self.resblock_kernel_sizes or any(kernel % 2 == 0 for kernel in self.resblock_kernel_sizes):
            raise ConfigError(f"resblock_kernel_sizes must be odd numbers, got {self.resblock_kernel_sizes}")
        if self.padding not in ("reflect", "zeros"):
            raise ConfigError(f"padding must be reflect or zeros, got {self.padding!r}")

    @property
    def hop_length(self) -> int:
        """Samples of one frame."""
        return math.prod(self.upsample_factors)

    def build(self, dim: int) -> HiFiGAN:
        """With random weights, for input vectors of `dim`."""
        return HiFiGAN(dim, self)


class HiFiGAN(Generator):
    """HiFi-GAN generator (Kong et al., 2020): transposed convolutions, each followed by the mean of residual blocks.

    Args:
        dim: of the input vectors.
        config: the sizes.
    """

    def __init__(self, dim: int, config: HiFiGANConfig) -> None:
        super().__init__()
        self.hop_length = config.hop_length
        channels = config.channels
        self.conv_pre = SameConv1d(dim, channels, 7, padding=config.padding)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for factor, kernel in zip(config.upsample_factors, config.upsample_kernel_sizes, strict=True):
            self.ups.append(Upsampling(channels, channels // 2, kernel, factor))
            channels //= 2
            self.resblocks.append(
                nn.ModuleList(
                    ResidualBlock(channels, kernel, config.resblock_dilations, config.padding)
                    for kernel in config.resblock_kernel_sizes
                )
            )
        # Here the published vocoders use the default slope of leaky ReLU, elsewhere a slope of 0.1.
        self.conv_post = SameConv1d(channels, 1, 7, slope=0.01, padding=config.padding)

    @property
    def receptive_frames(self) -> tuple[int, int]:
        """How many frames before a frame, and how many after it, the samples of that frame depend on."""
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


def _to_picture(vectors: Tensor) -> Tensor:
    """Vectors [batch, frames, channels] -> a picture [batch, channels, 1, frames] for two-dimensional convolutions.

    torch has a channels-last memory format for pictures only. On a CPU, channels-last convolutions with few channels
    are up to twice as fast as convolutions of [batch, channels, frames]. On other devices the picture is contiguous.
    """
    picture = vectors.transpose(1, 2)[:, :, None]
    return picture if picture.device.type == "cpu" else picture.contiguous()


class SameConv1d(nn.Conv1d):
    """A convolution over the time of a picture [batch, channels, 1, time], of the same length.

    Args:
        slope: of the leaky ReLU in front of the convolution; 1 for no leaky ReLU.
        padding: "reflect" or "zeros", at the edges.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dilation: int = 1,
        *,
        slope: float = 1.0,
        padding: str = "reflect",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.slope, self.reflects = slope, padding == "reflect"

    @property
    def reach(self) -> int:
        """How many samples before a sample, and as many after it, the output depends on."""
        return self.dilation[0] * (self.kernel_size[0] - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        # Reflection needs more samples than it adds; of shorter pictures the edge is repeated.
        reflected = "reflect" if x.shape[-1] > self.reach else "replicate"
        mode = reflected if self.reflects else "constant"
        padded = F.pad(x, (self.reach, self.reach, 0, 0), mode=mode)
        if self.slope != 1:
            # In place, as `padded` is a copy.
            padded = F.leaky_relu_(padded, self.slope)
        return F.conv2d(padded, self.weight[:, :, None], self.bias, dilation=(1, self.dilation[0]))


class Upsampling(nn.ConvTranspose1d):
    """A leaky ReLU, and a transposed convolution of a picture that gives exactly `factor` samples for each sample."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, factor: int) -> None:
        overlap = (kernel_size - factor) // 2
        super().__init__(in_channels, out_channels, kernel_size, factor, padding=overlap)
        self.overlap = overlap  # output samples of each neighbour that an input sample contributes to

    def source(self, first: int, last: int) -> tuple[int, int]:
        """The first and the last input sample that output samples first ... last depend on."""
        factor = self.stride[0]
        return (first - self.overlap) // factor, (last + self.overlap) // factor

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight, stride, padding = self.weight[:, :, None], (1, self.stride[0]), (0, self.overlap)
        return F.conv_transpose2d(F.leaky_relu(x, 0.1), weight, self.bias, stride, padding)


class ResidualBlock(nn.Module):
    """HiFi-GAN's residual block of type 1: a dilated and a plain convolution with a skip, for each dilation."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int], padding: str) -> None:
        super().__init__()
        convolution = functools.partial(SameConv1d, channels, channels, kernel_size, slope=0.1, padding=padding)
        self.convs1 = nn.ModuleList(convolution(dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(convolution() for _ in dilations)

    @property
    def reach(self) -> int:
        """How many samples before a sample, and as many after it, the output depends on."""
        return sum(cast(SameConv1d, conv).reach for conv in [*self.convs1, *self.convs2])

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = plain(dilated(x)).add_(x)
        return x
