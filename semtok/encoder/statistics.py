"""Statistics of a whole recording, gathered block by block, for input normalisation and group norm.

With the statistics of the whole recording, an encoder normalises a piece of the recording just as within the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Statistics:
    """How a recording is normalised. All tensors are float64, on the recording's device or, if that has none, the CPU.

    Args:
        mean: of the input: [] for samples, [bins] for mel bins; None if the encoder does not normalise its input.
        deviation: of the input, of the same shape.
        channel_mean: [channels], over time, of the output of the first convolution on normalised samples, for group
            norm; None for encoders without group norm.
        channel_variance: [channels], of the same output.
    """

    mean: Tensor | None = None
    deviation: Tensor | None = None
    channel_mean: Tensor | None = None
    channel_variance: Tensor | None = None


class RunningStatistics(Protocol):
    """Statistics of a recording that arrives piece by piece."""

    def add(self, samples: Tensor) -> None:
        """The next piece, float32 [samples >= 1], on a device that `has_float64`; all pieces are on one device."""

    def current(self) -> Statistics:
        """The statistics of all pieces so far, which together must have at least one frame."""


class Moments:
    """Running mean and covariance of rows, in float64 (Chan, Golub and LeVeque, 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self.scatter = torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Counts more rows, [count >= 1, dim]."""
        rows = rows.double()
        count, mean = len(rows), rows.mean(dim=0)
        centred = rows - mean
        scatter = centred.T @ centred
        if self.count > 0:
            step = mean - self.mean
            share = count / (self.count + count)
            mean = self.mean + share * step
            scatter += self.scatter + self.count * share * torch.outer(step, step)
        self.count, self.mean, self.scatter = self.count + count, mean, scatter

    def covariance(self, *, correction: int = 0) -> Tensor:
        """The covariance of all rows so far, float64 [dim, dim]; `correction` as in `torch.var`."""
        return self.scatter / (self.count - correction)


class WaveformStatistics:
    """Statistics for encoders on the waveform: for zero mean and unit variance, as by Wav2Vec2FeatureExtractor, and for
    group norm.

    Args:
        normalize: whether the encoder takes input of zero mean and unit variance.
        epsilon: added to the variance.
        convolution: the first one, if group norm follows it. As a convolution is linear, the mean and variance of its
            output follow from the mean and covariance of the samples under the kernel, without running it.
    """

    def __init__(self, *, normalize: bool, epsilon: float, convolution: nn.Conv1d | None) -> None:
        self._normalize = normalize
        self._epsilon = epsilon
        self._convolution = convolution
        self._samples = Moments()
        self._steps = Moments()
        self._rest = torch.zeros(0)

    def add(self, samples: Tensor) -> None:
        if self._normalize:
            self._samples.add(samples[:, None])
        if self._convolution is not None:
            (kernel,), (stride,) = self._convolution.kernel_size, self._convolution.stride
            steps, self._rest = cut_steps(self._rest, samples, kernel, stride)
            if len(steps) > 0:
                self._steps.add(steps)

    def current(self) -> Statistics:
        mean = deviation = channel_mean = channel_variance = None
        if self._normalize:
            mean = self._samples.mean[0]
            deviation = torch.sqrt(self._samples.covariance()[0, 0] + self._epsilon)
        if self._convolution is not None:
            weight = self._convolution.weight[:, 0].to(self._steps.mean.device).double()
            channel_mean = weight @ self._steps.mean
            channel_variance = ((weight @ self._steps.covariance()) * weight).sum(dim=1)
            if mean is not None and deviation is not None:
                channel_mean = (channel_mean - weight.sum(dim=1) * mean) / deviation
                channel_variance = channel_variance / deviation.square()
            if self._convolution.bias is not None:
                channel_mean = channel_mean + self._convolution.bias.to(channel_mean.device)
        return Statistics(mean, deviation, channel_mean, channel_variance)


class MelStatistics:
    """Statistics for encoders on log-mel filterbanks: for zero mean and unit variance of each bin, as by
    SeamlessM4TFeatureExtractor.

    Args:
        filterbank: samples -> float [steps, bins].
        window: samples of a step.
        hop_length: samples from one step to the next.
    """

    def __init__(self, filterbank: Callable[[Tensor], Tensor], *, window: int, hop_length: int) -> None:
        self._filterbank = filterbank
        self._window = window
        self._hop_length = hop_length
        self._bins = Moments()
        self._rest = torch.zeros(0)

    def add(self, samples: Tensor) -> None:
        samples = samples.cpu()  # where the filterbank computes
        held = torch.cat([self._rest, samples])
        steps, self._rest = cut_steps(self._rest, samples, self._window, self._hop_length)
        if len(steps) > 0:
            self._bins.add(self._filterbank(held))

    def current(self) -> Statistics:
        return Statistics(self._bins.mean, torch.sqrt(self._bins.covariance(correction=1).diagonal() + 1e-7))


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; all but Apple's do."""
    return device.type != "mps"


def cut_steps(rest: Tensor, samples: Tensor, kernel: int, stride: int) -> tuple[Tensor, Tensor]:
    """The samples under a kernel at each step, [steps, kernel], and the samples that the next step begins with.

    Args:
        rest: samples of the call before, which come first.
        samples: the new ones.
        kernel: samples of a step.
        stride: samples from one step to the next.
    """
    held = torch.cat([rest.to(samples.device), samples])
    steps = held.unfold(0, kernel, stride) if len(held) >= kernel else held.new_zeros(0, kernel)
    return steps, held[len(steps) * stride :]


def regroup(blocks: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Blocks [samples] of any lengths -> pieces of `size` samples, the last piece with what is left."""
    held: list[Tensor] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count >= size:
            *pieces, rest = torch.cat(held).split(size)
            if len(rest) == size:
                pieces, rest = [*pieces, rest], rest[:0]
            yield from pieces
            held, count = [rest], len(rest)
    if count > 0:
        yield torch.cat(held)
