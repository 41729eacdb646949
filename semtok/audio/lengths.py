"""Samples <-> frames: the one place with this arithmetic.

An encoder's front end is a stack of convolutions without padding, each with a kernel and a stride. A frame is counted,
and is valid, when its whole receptive field lies inside the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor


@overload
def frame_count(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int: ...


@overload
def frame_count(samples: Tensor, kernels: Sequence[int], strides: Sequence[int]) -> Tensor: ...


def frame_count(samples: int | Tensor, kernels: Sequence[int], strides: Sequence[int]) -> int | Tensor:
    """Frames that a stack of convolutions makes of samples (an int, or int64 of any shape); 0 if they are too few."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples.clamp(min=0) if isinstance(samples, Tensor) else max(samples, 0)


def minimum_samples(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples of the shortest clip that gives one frame: the receptive field of a frame."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Which frames lie within each clip: lengths [batch] in frames -> bool [batch, frames], True where valid."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]
