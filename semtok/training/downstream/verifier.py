"""Training of speaker embeddings, by the additive angular margin."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.checkpoints.config import config_entries
from semtok.downstream.config import DownstreamConfig
from semtok.downstream.verifier import SpeakerVerifier, VerifierConfig, VerifierHead
from semtok.errors import ConfigError
from semtok.support.intervals import Interval, bootstrap_of
from semtok.training.downstream.clips import Clips
from semtok.training.downstream.config import TaskConfig
from semtok.training.downstream.objective import Batch, ClipErrors, Crop, Objective

# Each sorts all pairs of clips.
_DRAWS = 500


@dataclass(frozen=True, kw_only=True)
class VerifierTrainingConfig(TaskConfig):
    """Learns to tell the speakers of the column `speaker` apart, by cosines with a `margin` (radians) and a `scale`.

    It is validated on all pairs of validation clips, best those of other speakers.
    """

    verifier: VerifierConfig
    speaker: str = "speaker"
    margin: float = 0.2
    scale: float = 30.0


class VerifierObjective(Objective[VerifierTrainingConfig]):
    model = SpeakerVerifier
    Config = VerifierTrainingConfig

    def __init__(self, config: VerifierTrainingConfig, clips: Clips, description: DownstreamConfig) -> None:
        super().__init__(config, clips, description)
        head = self.network.head
        assert isinstance(head, VerifierHead)
        self.speakers = nn.Parameter(F.normalize(torch.randn(len(self.numbers), head.pooling.dim), dim=1))
        self.threshold = config.verifier.threshold

    def usable(self, clips: Sequence[int]) -> list[int]:
        return self._with_column(clips, self.config.speaker)

    def prepare(self) -> dict[str, Any]:
        counts = Counter(self._speaker(clip) for clip in self.training_clips)
        speakers = sorted(speaker for speaker, count in counts.items() if count > 1)
        if len(speakers) < 2:
            raise ConfigError(f"{len(speakers)} speakers with two clips or more to train on: at least 2 needed")
        self.numbers = {speaker: number for number, speaker in enumerate(speakers)}
        self._drop(
            [c for c in self.training_clips if self._speaker(c) not in self.numbers], "their speaker occurs once"
        )
        for name, clips in (("validate", self.validation_clips), ("test", self.test_clips)):
            voices = Counter(self._speaker(clip) for clip in clips)
            if clips and (len(voices) < 2 or max(voices.values()) < 2):
                raise ConfigError(f"to {name} needs two speakers, and two clips of one of them, got {dict(voices)}")
        return config_entries(self.config.verifier)

    def _speaker(self, clip: int) -> str:
        return self.clips.rows[clip][self.config.speaker].strip()

    def targets(self, crops: Sequence[Crop]) -> Batch:
        speakers = [self._speaker(crop.clip) for crop in crops]
        return {"names": speakers, "speakers": torch.tensor([self.numbers.get(speaker, -1) for speaker in speakers])}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Deng et al. (2019): the angle to the speaker's own vector is taken to be larger by the margin."""
        cosines = self.run(batch) @ F.normalize(self.speakers, dim=1).T
        own = F.one_hot(batch["speakers"], len(self.numbers)).bool()
        angles = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        harder = (angles + self.config.margin).clamp(max=torch.pi).cos()
        loss = F.cross_entropy(self.config.scale * torch.where(own, harder, cosines), batch["speakers"])
        return {"loss": loss, "accuracy": (cosines.argmax(dim=1) == batch["speakers"]).float().mean()}

    def measure(self, batch: Batch) -> tuple[Tensor, list[str]]:
        return self.run(batch).cpu(), batch["names"]

    def summarize(self, measured: Sequence[tuple[Tensor, list[str]]]) -> dict[str, float]:
        """The equal error rate over all pairs of clips."""
        scores, names = self._scores(measured)
        first, second = np.triu_indices(len(names), 1)
        error, self.threshold = equal_error_rate(scores[first, second], names[first] == names[second])
        return {"eer": error, "pairs": float(len(first))}

    def clip_errors(self, measured: Sequence[tuple[Tensor, list[str]]]) -> ClipErrors:
        return {}

    def intervals(self, measured: Sequence[tuple[Tensor, list[str]]]) -> dict[str, Interval]:
        """From clips drawn again; a pair of a clip and itself does not count."""
        scores, names = self._scores(measured)

        def error(clips: np.ndarray) -> float:
            first, second = (clips[side] for side in np.triu_indices(len(clips), 1))
            other = first != second
            first, second = first[other], second[other]
            same = names[first] == names[second]
            return equal_error_rate(scores[first, second], same)[0] if 0 < same.sum() < len(same) else math.nan

        return {"eer": bootstrap_of(error, len(names), draws=_DRAWS)}

    @staticmethod
    def _scores(measured: Sequence[tuple[Tensor, list[str]]]) -> tuple[np.ndarray, np.ndarray]:
        """Cosines [clips, clips] and the speakers [clips]."""
        embeddings = torch.cat([part for part, _ in measured])
        names = np.array([name for _, part in measured for name in part])
        return (embeddings @ embeddings.T).double().numpy(), names

    def final_head(self) -> dict[str, Any]:
        return config_entries(dataclasses.replace(self.config.verifier, threshold=self.threshold))


def equal_error_rate(scores: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """The rate at which as many different pairs are accepted as same ones are refused, and the threshold there.

    Args:
        scores: [pairs], higher for the same speaker.
        same: bool [pairs].
    """
    order = np.argsort(-scores, kind="stable")
    accepted = same[order]
    # Refused and accepted wrongly, with the threshold at each score, the highest first.
    refused = 1 - np.cumsum(accepted) / accepted.sum()
    false = np.cumsum(~accepted) / (~accepted).sum()
    # Equal scores are accepted together.
    last = np.append(np.diff(scores[order]) != 0, True)
    refused, false, thresholds = refused[last], false[last], scores[order][last]
    best = int(np.argmin(np.abs(refused - false)))
    return float((refused[best] + false[best]) / 2), float(thresholds[best])
