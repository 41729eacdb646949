"""The interface of generators: one vector a frame -> waveform, `hop_length` samples a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Generator(nn.Module, ABC):
    """Vectors -> waveform.

    Attributes:
        hop_length: samples of one frame.
    """

    hop_length: int

    @property
    @abstractmethod
    def receptive_frames(self) -> tuple[int, int]:
        """How many frames before a frame, and how many after it, the samples of that frame depend on.

        Windows of long tokens and the blocks of streams have so many frames of context.
        """

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """features [batch, frames, dim] -> waveform [batch, frames x hop_length]."""

    def compile_parts(self) -> None:
        """Compiles the generator by `torch.compile` on next use, for tokens of any lengths."""
        self.compile(dynamic=True)
