"""Samples <-> frames, and the windows that long sequences are cut into.

An encoder's front end is a stack of convolutions without padding, each with a kernel and a stride. A clip has all
frames whose whole receptive field lies inside the clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from semtok.errors import AudioError

CHUNK_SECONDS = 30.0
CONTEXT_SECONDS = 5.0
"""Chunk and context of the windows of long recordings; docs/long-audio.md has the cost of other values."""


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Which frames lie within each clip: lengths [batch] in frames -> bool [batch, frames], True where valid."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


@dataclass(frozen=True)
class Framing:
    """Which samples each frame of an encoder depends on.

    Args:
        kernels: sizes of the convolutions of the front end, the first in samples, each other one in outputs of the
            convolution before.
        strides: of the same convolutions, in the same units.
        sample_rate: Hz.
    """

    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    sample_rate: int

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length

    @property
    def minimum_samples(self) -> int:
        """Samples of the shortest clip that gives one frame: the receptive field of a frame."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def count(self, samples: int) -> int:
        """Frames that a clip of so many samples gives; 0 if they are too few."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The samples [start, stop) that give frames first ... last - 1, and no other frames."""
        return first * self.hop_length, (last - 1) * self.hop_length + self.minimum_samples

    def windows(self, chunk_seconds: float = CHUNK_SECONDS, context_seconds: float = CONTEXT_SECONDS) -> Windows:
        """The windows of long recordings.

        Args:
            chunk_seconds: of the answer that a window gives, rounded to frames.
            context_seconds: that a window shows on either side of its chunk, rounded to frames.

        Raises:
            AudioError: a chunk of 0 seconds or less, or a context below 0.
        """
        if not (chunk_seconds > 0 and context_seconds >= 0):
            raise AudioError(
                "chunk_seconds must be above 0 and context_seconds 0 or more, "
                f"got {chunk_seconds!r} and {context_seconds!r}"
            )
        context = _round(context_seconds * self.rate)
        return Windows(max(_round(chunk_seconds * self.rate), 1), context, context)


class Window(NamedTuple):
    """Frames first ... last - 1 of a sequence, shown to a network for its answer on frames start ... stop - 1."""

    first: int
    start: int
    stop: int
    last: int

    @property
    def answered(self) -> slice:
        """Where the frames start ... stop - 1 are among the frames shown."""
        return slice(self.start - self.first, self.stop - self.first)


class Windows(NamedTuple):
    """How a long sequence is cut into windows. Each window gives a chunk of the answer and shows context around it.

    Args:
        chunk: frames of the answer that a window gives.
        before: frames that a window shows before its chunk, unless the sequence begins later.
        after: frames that a window shows after its chunk, unless the sequence ends earlier.
    """

    chunk: float
    before: float
    after: float

    def one_is_enough(self, frames: int) -> bool:
        """Whether so many frames fit in one window."""
        return frames <= self.chunk + self.before + self.after

    def plan(self, frames: int) -> Iterator[Window]:
        """The windows of so many frames: one if they fit in one window, else one for each chunk; none for no frames."""
        if frames == 0:
            return
        if self.one_is_enough(frames):
            yield Window(0, 0, frames, frames)
            return
        chunk, before, after = map(int, self)
        for start in range(0, frames, chunk):
            stop = min(start + chunk, frames)
            yield Window(max(start - before, 0), start, stop, min(stop + after, frames))


def _round(frames: float) -> float:
    return frames if frames == math.inf else round(frames)
