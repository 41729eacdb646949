"""What every generator is: one vector a frame -> waveform, `hop_length` samples a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Generator(nn.Module, ABC):
    """Vectors -> waveform.

    Attributes:
        hop_length: samples a frame.
    """

    hop_length: int

    @property
    @abstractmethod
    def receptive_frames(self) -> tuple[int, int]:
        """How many frames before, and how many after, its own the samples of a frame depend on.

        Long tokens and those that arrive in a stream are cut by it.
        """

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """features [batch, frames, dim] -> waveform [batch, frames x hop_length]."""

    def compile_parts(self) -> None:
        """Has what `torch.compile` can run be run by it from here on, for tokens of any lengths."""
        self.compile(dynamic=True)
