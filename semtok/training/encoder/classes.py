"""Target classes of every frame of a corpus: what the encoder learns to predict, in two rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semtok.training.data.corpus import Corpus
from semtok.training.encoder.config import EncoderConfig, Target
from semtok.training.encoder.targets import FEATURES, WINDOW, View
from semtok.training.kmeans.kmeans import KMeans

HOP_LENGTH = 320
SAMPLE_RATE = 16000


def normalize(waveforms: Tensor) -> Tensor:
    """Zero mean and unit variance over the last dimension, as the published encoders' feature extractors do."""
    centred = waveforms - waveforms.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()


class Classes:
    """The classes of all targets, int32 [frames of the corpus] each, addressed by clip and frame.

    Every clip has as many frames as the usual front end gives it: windows of 400 samples, 320 apart.
    """

    def __init__(self, config: EncoderConfig, corpus: Corpus) -> None:
        self.config, self.corpus = config, corpus
        self.starts = np.concatenate([[0], np.cumsum((corpus.lengths - WINDOW) // HOP_LENGTH + 1)])
        self.values: list[Tensor] = []

    def first_round(self) -> list[Tensor]:
        """k-means classes of each target's acoustic feature."""
        return [self._acoustic(target, self.config.seed + number) for number, target in enumerate(self.config.targets)]

    def second_round(self, features: Callable[[int], Tensor]) -> list[Tensor]:
        """The masked targets by k-means of the encoder's own `features` of a clip, [frames, dim]; the others stay."""

        def padded(clip: int) -> Tensor:
            # A receptive field wider than the window of the acoustic features gives a clip fewer frames.
            own = features(clip)
            return torch.cat([own, own[-1:].expand(self.frames(clip) - len(own), -1)])

        return [
            self._fit(padded, target.codebook_size, self.config.seed) if target.masked else values
            for target, values in zip(self.config.targets, self.values, strict=True)
        ]

    def frames(self, clip: int) -> int:
        """Frames of a clip."""
        return int(self.starts[clip + 1] - self.starts[clip])

    def crop(self, target: int, clips: np.ndarray, starts: np.ndarray, frames: int) -> Tensor:
        """Classes of a target, int64 [batch, frames], from frame `starts` of each clip."""
        begins = self.starts[clips] + starts
        return torch.stack([self.values[target][begin : begin + frames] for begin in begins]).long()

    def _acoustic(self, target: Target, seed: int) -> Tensor:
        def feature(clip: int) -> Tensor:
            return FEATURES[target.features](normalize(self.corpus.waveform(clip)))

        points = torch.cat([feature(clip) for clip in self._sample(seed)])
        view = View.fit(points, target.emphasis, target.rest, target.components)
        return self._fit(lambda clip: view(feature(clip)), target.codebook_size, seed)

    def _fit(self, features: Callable[[int], Tensor], codebook_size: int, seed: int) -> Tensor:
        """Classes of all clips by k-means, fitted on a sample of them: int32 [frames of the corpus]."""
        points = torch.cat([features(clip) for clip in self._sample(seed)])
        kmeans = KMeans(codebook_size, seed=seed, iterations=12).fit(points)
        return torch.cat([kmeans.predict(features(clip)).int() for clip in range(len(self.corpus))])

    def _sample(self, seed: int) -> np.ndarray:
        """Random clips of `target_hours` in all."""
        order = np.random.default_rng(seed).permutation(len(self.corpus))
        wanted = self.config.target_hours * 3600 * SAMPLE_RATE
        return order[: 1 + int(np.searchsorted(np.cumsum(self.corpus.lengths[order]), wanted))]


@dataclass(frozen=True)
class Standardized:
    """An acoustic feature, each dimension at zero mean and unit variance over a corpus: a target of regression."""

    features: str
    mean: Tensor
    deviation: Tensor

    @classmethod
    def fit(cls, features: str, corpus: Corpus, seed: int) -> Standardized:
        """Statistics over up to 200 clips of the corpus."""
        clips = np.random.default_rng(seed).permutation(len(corpus))[:200]
        points = torch.cat([FEATURES[features](normalize(corpus.waveform(clip))) for clip in clips])
        return cls(features, points.mean(0), points.std(0))

    def __call__(self, waveform: Tensor) -> Tensor:
        """A normalised waveform [samples] -> [frames, dimensions]."""
        return (FEATURES[self.features](waveform) - self.mean) / self.deviation
