"""From one vector a frame to one an utterance: statistics, x-vector, ECAPA-TDNN. Padding takes part in nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.audio.lengths import frame_mask
from semtok.errors import MOST_LAYERS, ConfigError, check_sizes


@dataclass(frozen=True)
class StatisticsConfig:
    """The mean of the frames, and with `deviation` their standard deviation beside it."""

    deviation: bool = True


@dataclass(frozen=True)
class XVectorConfig:
    """Snyder et al. (2018), with the sizes of SpeechBrain's recipes."""

    channels: tuple[int, ...] = (512, 512, 512, 512, 1500)
    kernels: tuple[int, ...] = (5, 3, 3, 1, 1)
    dilations: tuple[int, ...] = (1, 2, 3, 1, 1)
    embedding: int = 512

    def __post_init__(self) -> None:
        check_sizes(self, "channels", "kernels", "dilations", "embedding")
        _check_lengths(self.channels, self.kernels, self.dilations)


@dataclass(frozen=True)
class ECAPAConfig:
    """Desplanques et al. (2020), with the sizes of SpeechBrain's recipes.

    `channels` are those of the first convolution, of the SE-Res2 blocks, and of their aggregation.
    """

    channels: tuple[int, ...] = (1024, 1024, 1024, 1024, 3072)
    kernels: tuple[int, ...] = (5, 3, 3, 3, 1)
    dilations: tuple[int, ...] = (1, 2, 3, 4, 1)
    attention: int = 128
    squeeze: int = 128
    scale: int = 8
    embedding: int = 192

    def __post_init__(self) -> None:
        check_sizes(self, "channels", "kernels", "dilations", "attention", "squeeze", "embedding")
        check_sizes(self, "scale", most=MOST_LAYERS)
        _check_lengths(self.channels, self.kernels, self.dilations)
        if len(self.channels) < 3 or len(set(self.channels[:-1])) > 1 or self.channels[0] % self.scale:
            raise ConfigError(
                f"channels {list(self.channels)} must be at least 3, all but the last equal and a multiple of "
                f"scale {self.scale}"
            )


def _check_lengths(channels: tuple[int, ...], kernels: tuple[int, ...], dilations: tuple[int, ...]) -> None:
    if not 0 < len(channels) == len(kernels) == len(dilations) or any(kernel % 2 == 0 for kernel in kernels):
        raise ConfigError(
            f"channels {list(channels)} need as many kernels, odd, and dilations, "
            f"got {list(kernels)} and {list(dilations)}"
        )


@dataclass(frozen=True)
class PoolingConfig:
    """Which pooling, by the one entry that is there."""

    statistics: StatisticsConfig | None = None
    xvector: XVectorConfig | None = None
    ecapa: ECAPAConfig | None = None

    def __post_init__(self) -> None:
        if [self.statistics, self.xvector, self.ecapa].count(None) != 2:
            raise ConfigError("pooling is given by exactly one of the entries 'statistics', 'xvector' and 'ecapa'")


class Pooling(nn.Module):
    """[batch, frames, channels] of lengths int64 [batch] -> embeddings [batch, dim]."""

    dim: int


def build_pooling(config: PoolingConfig, channels: int) -> Pooling:
    """The pooling that a config describes, of inputs with so many channels."""
    if config.ecapa is not None:
        return ECAPA(config.ecapa, channels)
    if config.xvector is not None:
        return XVector(config.xvector, channels)
    assert config.statistics is not None
    return Statistics(config.statistics, channels)


class Statistics(Pooling):
    def __init__(self, config: StatisticsConfig, channels: int) -> None:
        super().__init__()
        self.deviation = config.deviation
        self.dim = 2 * channels if config.deviation else channels

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        valid = frame_mask(lengths, x.shape[1])[:, :, None]
        mean, deviation = _moments(x, valid / lengths[:, None, None])
        return torch.cat([mean, deviation], dim=1) if self.deviation else mean


class XVector(Pooling):
    def __init__(self, config: XVectorConfig, channels: int) -> None:
        super().__init__()
        widths = (channels, *config.channels)
        self.blocks = nn.ModuleList(
            TDNN(before, after, kernel, dilation, nn.LeakyReLU())
            for before, after, kernel, dilation in zip(
                widths, config.channels, config.kernels, config.dilations, strict=False
            )
        )
        self.output = nn.Linear(2 * config.channels[-1], config.embedding)
        self.dim = config.embedding

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        valid = frame_mask(lengths, x.shape[1])[:, :, None]
        for block in self.blocks:
            x = block(x, valid)
        embedding: Tensor = self.output(torch.cat(_moments(x, valid / lengths[:, None, None]), dim=1))
        return embedding


class ECAPA(Pooling):
    def __init__(self, config: ECAPAConfig, channels: int) -> None:
        super().__init__()
        first, *_, last = width, *_, aggregated = config.channels
        kernels, dilations = config.kernels, config.dilations
        self.input = TDNN(channels, first, kernels[0], dilations[0])
        self.blocks = nn.ModuleList(
            SERes2Block(width, kernel, dilation, config.scale, config.squeeze)
            for kernel, dilation in zip(kernels[1:-1], dilations[1:-1], strict=True)
        )
        self.aggregate = TDNN(width * len(self.blocks), aggregated, kernels[-1], dilations[-1])
        self.attend_in = TDNN(3 * last, config.attention, 1, 1)
        self.attend_out = nn.Linear(config.attention, last)
        self.norm = nn.BatchNorm1d(2 * last)
        self.output = nn.Linear(2 * last, config.embedding)
        self.dim = config.embedding

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        valid = frame_mask(lengths, x.shape[1])[:, :, None]
        x = self.input(x, valid)
        outputs = []
        for block in self.blocks:
            x = block(x, valid)
            outputs.append(x)
        x = self.aggregate(torch.cat(outputs, dim=2), valid)
        context = torch.cat([moment[:, None].expand_as(x) for moment in _moments(x, valid / lengths[:, None, None])], 2)
        scores = self.attend_out(self.attend_in(torch.cat([x, context], dim=2), valid).tanh())
        weights = scores.masked_fill(~valid, -torch.inf).softmax(dim=1)
        pooled, norm = torch.cat(_moments(x, weights), dim=1), self.norm
        # An utterance alone has no statistics of a batch, in training as little as afterwards.
        of_batch = self.training and len(pooled) > 1
        pooled = (
            norm(pooled)
            if of_batch
            else F.batch_norm(pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        )
        embedding: Tensor = self.output(pooled)
        return embedding


class SERes2Block(nn.Module):
    """A residual block of `scale` parts, each convolved with what came of the part before, and squeeze-excitation."""

    def __init__(self, channels: int, kernel: int, dilation: int, scale: int, squeeze: int) -> None:
        super().__init__()
        self.scale = scale
        self.input = TDNN(channels, channels, 1, 1)
        part = channels // scale
        self.parts = nn.ModuleList(TDNN(part, part, kernel, dilation) for _ in range(scale - 1))
        self.output = TDNN(channels, channels, 1, 1)
        self.excite = nn.Sequential(
            *(nn.Linear(channels, squeeze), nn.ReLU(), nn.Linear(squeeze, channels), nn.Sigmoid())
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        first, *others = self.input(x, valid).chunk(self.scale, dim=2)
        outputs = [first]
        for number, (convolve, part) in enumerate(zip(self.parts, others, strict=True)):
            outputs.append(convolve(part + outputs[-1] if number else part, valid))
        y = self.output(torch.cat(outputs, dim=2), valid)
        scale: Tensor = self.excite(y.sum(dim=1) / valid.sum(dim=1))
        output: Tensor = x + y * scale[:, None]
        return output


class TDNN(nn.Module):
    """A dilated convolution over time that keeps the length, an activation, and batch norm over the valid frames."""

    def __init__(
        self, before: int, after: int, kernel: int, dilation: int, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(before, after, kernel, dilation=dilation, padding=dilation * (kernel // 2))
        self.activation = activation or nn.ReLU()
        self.norm = nn.BatchNorm1d(after)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """[batch, frames, before], 0 where not valid [batch, frames, 1] -> [batch, frames, after], 0 there too."""
        x = self.activation(self.convolution(x.transpose(1, 2)).transpose(1, 2))
        frames = valid[:, :, 0]
        normed = torch.zeros_like(x)
        normed[frames] = self.norm(x[frames]).to(x.dtype)
        return normed


def _moments(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [batch, channels] of frames, by weights [batch, frames, 1 or channels]."""
    mean = (weights * x).sum(dim=1)
    variance = (weights * (x - mean[:, None]).square()).sum(dim=1)
    return mean, (variance + 1e-5).sqrt()
