"""Training of a classifier of utterances."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from semtok.checkpoints.config import config_entries
from semtok.downstream.classifier import ClassifierConfig, UtteranceClassifier
from semtok.errors import ConfigError
from semtok.support.intervals import Interval, bootstrap_of, wilson_interval
from semtok.training.downstream.config import TaskConfig
from semtok.training.downstream.objective import Batch, ClipErrors, Crop, Objective


@dataclass(frozen=True, kw_only=True)
class ClassifierTrainingConfig(TaskConfig):
    """Learns the column `label`. The best state is that of least error over clips, or with `balanced` over labels."""

    classifier: ClassifierConfig
    label: str
    balanced: bool = False


class ClassifierObjective(Objective[ClassifierTrainingConfig]):
    model = UtteranceClassifier
    Config = ClassifierTrainingConfig

    def usable(self, clips: Sequence[int]) -> list[int]:
        return self._with_column(clips, self.config.label)

    def prepare(self) -> dict[str, Any]:
        counts = Counter(self._label(clip) for clip in self.training_clips)
        labels = sorted(label for label, count in counts.items() if count > 1)
        if len(labels) < 2:
            raise ConfigError(
                f"the column {self.config.label!r} has {len(labels)} labels that occur twice or more: at least 2 needed"
            )
        self.numbers = {label: number for number, label in enumerate(labels)}
        self._drop(
            [clip for clip in self.training_clips if self._label(clip) not in self.numbers], "their label occurs once"
        )
        others = [clip for clip in [*self.validation_clips, *self.test_clips] if self._label(clip) not in self.numbers]
        self._drop(others, "their label is not among those to train on")
        return config_entries(dataclasses.replace(self.config.classifier, labels=tuple(labels)))

    def _label(self, clip: int) -> str:
        return self.clips.rows[clip][self.config.label].strip()

    def targets(self, crops: Sequence[Crop]) -> Batch:
        return {"labels": torch.tensor([self.numbers[self._label(crop.clip)] for crop in crops])}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        scores = self.run(batch).float()
        accuracy = (scores.argmax(dim=1) == batch["labels"]).float().mean()
        return {"loss": F.cross_entropy(scores, batch["labels"]), "accuracy": accuracy}

    def measure(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.run(batch).argmax(dim=1).cpu(), batch["labels"].cpu()

    def summarize(self, measured: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Share of the clips that are named wrong, and the mean over labels of that share."""
        wrong, labels = _wrong(measured)
        numbers = {"error": float(wrong.mean()), "balanced_error": _balanced(wrong, labels)}
        return dict(sorted(numbers.items(), key=lambda item: (item[0] == "error") == self.config.balanced))

    def clip_errors(self, measured: Sequence[tuple[Tensor, Tensor]]) -> ClipErrors:
        wrong, _ = _wrong(measured)
        return {"error": (wrong, np.ones(len(wrong)))}

    def intervals(self, measured: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Interval]:
        wrong, labels = _wrong(measured)
        return {
            "error": wilson_interval(wrong.sum(), len(wrong)),
            "balanced_error": bootstrap_of(lambda clips: _balanced(wrong[clips], labels[clips]), len(wrong)),
        }


def _wrong(measured: Sequence[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """1 for each clip that is named wrong, else 0, and the labels, both [clips]."""
    named, labels = (torch.cat(parts).numpy() for parts in zip(*measured, strict=True))
    return (named != labels).astype(np.float64), labels


def _balanced(wrong: np.ndarray, labels: np.ndarray) -> float:
    """The mean over labels of the share that is wrong."""
    return float(np.mean([wrong[labels == label].mean() for label in np.unique(labels)]))
