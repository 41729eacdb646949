"""Training of a recogniser by CTC."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from semtok.checkpoints.config import config_entries
from semtok.downstream.ctc import best_path
from semtok.downstream.model import DownstreamModel
from semtok.downstream.recognizer import RecognizerConfig, RecognizerHead, SpeechRecognizer
from semtok.downstream.text import TextCodec, edit_distance, normalize
from semtok.errors import check_sizes
from semtok.training.downstream.config import TaskConfig
from semtok.training.downstream.objective import Batch, ClipErrors, Crop, Objective
from semtok.training.downstream.witten_bell import estimate, spell, split_words

_MOST_ORDERS = 20


@dataclass(frozen=True)
class LanguageModelConfig:
    """An n-gram model of the texts to train on: up to `order` characters, or `words`."""

    order: int
    words: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, "order", most=_MOST_ORDERS)


@dataclass(frozen=True, kw_only=True)
class RecognizerTrainingConfig(TaskConfig):
    """Learns the column `text`, in capitals if `upper`; by characters, or so many `subwords` of byte-pair encoding.

    A `language_model` is saved with the model, whose `recognizer.decoding` says how texts are searched with it.
    Validation and test take the likeliest path all the same.
    """

    recognizer: RecognizerConfig
    text: str = "text"
    subwords: int | None = None
    upper: bool = True
    language_model: LanguageModelConfig | None = None


class RecognizerObjective(Objective[RecognizerTrainingConfig]):
    model = SpeechRecognizer
    Config = RecognizerTrainingConfig

    def usable(self, clips: Sequence[int]) -> list[int]:
        return self._with_column(clips, self.config.text)

    def text_of(self, clip: int) -> str | None:
        return normalize(self.clips.rows[clip][self.config.text], upper=True) or None

    def prepare(self) -> dict[str, Any]:
        config, rows = self.config, self.clips.rows
        texts = [rows[clip][config.text] for clip in self.training_clips]
        self.codec = TextCodec.fit(texts, subwords=config.subwords, upper=config.upper)
        self.labels = {
            clip: self.codec.encode(rows[clip][config.text]) for clip in self.training_clips if self._words(clip)
        }
        self._drop([clip for clip in self.training_clips if clip not in self.labels], "no words in their text")
        self._drop([clip for clip in self.training_clips if self._too_short(clip)], "too short for their text")
        return config_entries(dataclasses.replace(config.recognizer, text=self.codec.config))

    def complete(self, model: DownstreamModel) -> None:
        config = self.config.language_model
        if config is not None:
            assert isinstance(model, SpeechRecognizer)
            texts = {self._words(clip) for clip in self.training_clips}  # a text read by many is one text
            model.language_model = estimate(map(split_words if config.words else spell, sorted(texts)), config.order)

    def _words(self, clip: int) -> str:
        return self.codec.normalize(self.clips.rows[clip][self.config.text])

    def _too_short(self, clip: int) -> bool:
        """Between equal labels CTC needs a blank."""
        labels = self.labels[clip]
        repeated = sum(one == other for one, other in pairwise(labels))
        frames = min(self.clips.frames_of(clip, copy) for copy in range(self.clips.copies(clip)))
        return frames // self.config.recognizer.frames_per_step < len(labels) + repeated

    def targets(self, crops: Sequence[Crop]) -> Batch:
        return {"clips": [crop.clip for crop in crops]}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        output = self.run(batch)
        head = self.network.head
        assert isinstance(head, RecognizerHead)
        labels = [self.labels[clip] for clip in batch["clips"]]
        counts = torch.tensor([len(one) for one in labels], device=output.device)
        joined = torch.tensor([label for one in labels for label in one], device=output.device)
        steps = head.steps(batch["lengths"])
        return {"loss": F.ctc_loss(output.transpose(0, 1), joined, steps, counts, zero_infinity=True)}

    def measure(self, batch: Batch) -> list[tuple[str, str]]:
        """The text of each clip, and what the network writes."""
        output = self.run(batch)
        head = self.network.head
        assert isinstance(head, RecognizerHead)
        texts = [
            self.codec.decode(best_path(row[:steps]))
            for row, steps in zip(output, head.steps(batch["lengths"]).tolist(), strict=True)
        ]
        return [(self._words(clip), text) for clip, text in zip(batch["clips"], texts, strict=True)]

    def summarize(self, measured: Sequence[list[tuple[str, str]]]) -> dict[str, float]:
        """Errors over all characters, which decide, and over all words."""
        errors = self.clip_errors(measured)
        return {name: float(wrong.sum() / max(1, count.sum())) for name, (wrong, count) in errors.items()}

    def clip_errors(self, measured: Sequence[list[tuple[str, str]]]) -> ClipErrors:
        pairs = [pair for batch in measured for pair in batch]
        words = [(text.split(), hypothesis.split()) for text, hypothesis in pairs]
        return {
            name: (
                np.array([edit_distance(*units) for units in split], np.float64),
                np.array([len(reference) for reference, _ in split], np.float64),
            )
            for name, split in (("cer", pairs), ("wer", words))
        }
