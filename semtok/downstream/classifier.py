"""Speech -> a label: emotion, keyword, intent, accent, speaker, or any other that a manifest has a column of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from semtok.audio.io import AudioArray
from semtok.downstream.config import DownstreamConfig
from semtok.downstream.model import DownstreamModel, Head, Speech
from semtok.downstream.pooling import PoolingConfig, build_pooling
from semtok.errors import ConfigError


@dataclass(frozen=True)
class ClassifierConfig:
    """How the frames are pooled, what dropout the pooled vector gets in training, and the labels."""

    pooling: PoolingConfig
    dropout: float = 0.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Classification:
    """The likeliest label of a clip, and the probability of each."""

    label: str
    probabilities: dict[str, float]


class ClassifierHead(Head):
    """Fused vectors -> scores [batch, labels]."""

    def __init__(self, config: ClassifierConfig, dim: int) -> None:
        super().__init__()
        self.pooling = build_pooling(config.pooling, dim)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.pooling.dim, len(config.labels))

    def forward(self, fused: Tensor, lengths: Tensor) -> Tensor:
        scores: Tensor = self.output(self.dropout(self.pooling(fused, lengths)))
        return scores


class UtteranceClassifier(DownstreamModel):
    """Names the class of each clip."""

    task = "classifier"
    Config = ClassifierConfig
    pipeline = "audio-classification"
    example = 'answer, = model.classify("speech.wav")  # answer.label, .probabilities'
    head_config: ClassifierConfig

    @classmethod
    def build_head(cls, config: DownstreamConfig) -> ClassifierHead:
        head: ClassifierConfig = cls.read_head_config(config)
        if len(head.labels) < 2:
            raise ConfigError(f"a classifier needs at least two labels, got {list(head.labels)}")
        return ClassifierHead(head, config.front.dim)

    @property
    def labels(self) -> tuple[str, ...]:
        """All that it can answer."""
        return self.head_config.labels

    def classify(
        self,
        audio: Speech,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> list[Classification]:
        """The label of each clip, with the probability of every label.

        Arguments and errors as in `Tokenizer.encode`; tokens that are not this model's are a `TokensError`.
        """
        answers = []
        for scores in self._outputs(audio, sample_rate, lengths):
            probabilities = dict(zip(self.labels, scores.float().softmax(dim=0).tolist(), strict=True))
            answers.append(Classification(max(probabilities, key=probabilities.__getitem__), probabilities))
        return answers
