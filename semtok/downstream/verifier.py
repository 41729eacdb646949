"""Speech -> an embedding of the voice, and whether two clips are of one speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semtok.audio.io import AudioArray
from semtok.downstream.config import DownstreamConfig
from semtok.downstream.model import DownstreamModel, Head, Speech
from semtok.downstream.pooling import PoolingConfig, build_pooling
from semtok.errors import AudioError


@dataclass(frozen=True)
class VerifierConfig:
    """How the frames are pooled, and the cosine from which on two embeddings are taken for one speaker's."""

    pooling: PoolingConfig
    threshold: float = 0.5


@dataclass(frozen=True)
class Verification:
    """The cosine of two voices' embeddings, and whether it reaches the threshold."""

    score: float
    same: bool


class VerifierHead(Head):
    """Fused vectors -> embeddings [batch, dim] of unit length."""

    def __init__(self, config: VerifierConfig, dim: int) -> None:
        super().__init__()
        self.pooling = build_pooling(config.pooling, dim)

    def forward(self, fused: Tensor, lengths: Tensor) -> Tensor:
        return F.normalize(self.pooling(fused, lengths).float(), dim=1)


class SpeakerVerifier(DownstreamModel):
    """Knows voices again, also of speakers that it has not learnt from."""

    task = "speaker"
    Config = VerifierConfig
    pipeline = "audio-classification"
    example = 'answer, = model.verify("one.wav", "other.wav")  # answer.score, .same'
    head_config: VerifierConfig

    @classmethod
    def build_head(cls, config: DownstreamConfig) -> VerifierHead:
        return VerifierHead(cls.read_head_config(config), config.front.dim)

    @property
    def threshold(self) -> float:
        """The cosine from which on two clips are taken for one speaker's: where both errors were equal in training."""
        return self.head_config.threshold

    def embed(
        self,
        audio: Speech,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> Tensor:
        """Embeddings of the voices, float32 [batch, dim] of unit length; arguments and errors as in `classify`."""
        return torch.stack(self._outputs(audio, sample_rate, lengths))

    def verify(self, first: Speech, second: Speech, *, sample_rate: int | None = None) -> list[Verification]:
        """Whether each clip of `first` and the one at its place in `second` are of one speaker.

        Raises:
            AudioError: not as many clips in both; otherwise as in `embed`.
        """
        one, other = (self.embed(audio, sample_rate=sample_rate) for audio in (first, second))
        if len(one) != len(other):
            raise AudioError(f"clips are compared in pairs, got {len(one)} and {len(other)}")
        scores = (one * other).sum(dim=1).tolist()
        return [Verification(score, score >= self.threshold) for score in scores]
