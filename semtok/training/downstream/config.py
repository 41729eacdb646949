"""What the training configs of all tasks have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer, in_order
from semtok.downstream.config import FrontConfig
from semtok.errors import ConfigError, check_positive
from semtok.speech.sources import Dataset
from semtok.training.config import SECTION, Schedule
from semtok.training.data.disturbances import Disturbances


@dataclass(frozen=True)
class AugmentationConfig:
    """Copies of each training clip that are tokenised beside it; a step takes any of them.

    One for each of `speeds`, and `noisy_copies` to which `disturbances` happened.
    """

    speeds: tuple[float, ...] = ()
    noisy_copies: int = 0
    disturbances: Disturbances | None = None

    def __post_init__(self) -> None:
        if any(not 0.5 <= speed <= 2 or speed == 1 for speed in self.speeds):
            raise ConfigError(f"speeds must lie in 0.5 ... 2, and 1 is there anyhow, got {list(self.speeds)}")
        if (self.disturbances is not None) != (self.noisy_copies > 0) or self.noisy_copies < 0:
            raise ConfigError(
                f"noisy_copies, a number, and the disturbances that happen to them need each other, "
                f"got {self.noisy_copies} and {self.disturbances}"
            )


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """What is learnt from.

    `sources` are sources of speech, by the names that `semtok.speech.sources.open_source` takes, or datasets; columns
    say what is to be learnt. Clips whose column `split` is one of `leave_out_splits` are left out, those of
    `validation_splits` are for validation. Where there are none, `validation_clips` of the clips to train on are drawn
    at random. Clips of `test_splits` are measured once, at the end.

    `layers` are all of the tokenizer's by default, with the first `stages` of their residual stages (all by default).
    Of tasks that learn texts, recognition and text to speech, training clips that say a text of a validation or test
    clip are left out and counted, and so are validation clips that say one of a test clip; `repeated_texts` takes them.

    `features` trains on the encoder's features instead of tokens. `augmentation` makes copies of clips.
    """

    sources: list[str | Dataset]
    validation_clips: int
    validation_splits: list[str] = field(default_factory=lambda: ["valid"])
    test_splits: list[str] = field(default_factory=lambda: ["test"])
    leave_out_splits: list[str] = field(default_factory=list)
    repeated_texts: bool = False
    layers: list[Layer] | None = None
    stages: int | None = None
    features: bool = False
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        check_positive(self, "validation_clips", *(["stages"] if self.stages is not None else []))

    def select(self, codebooks: Codebooks) -> Codebooks:
        """The layers and stages of a tokenizer that are learnt from; `LayerError` where it lacks a layer."""
        if self.layers is not None:
            codebooks = codebooks.select(in_order(self.layers), owner="the tokenizer")
        return Codebooks({layer: sizes[: self.stages] for layer, sizes in codebooks.items()})


@dataclass(frozen=True, kw_only=True)
class FrontTraining:
    """How the front of the network starts and what of the network is saved.

    `front` says how the layers are fused. `tables_from_centroids` starts the selector's tables there, `freeze_tables`
    leaves them as they start. `half_precision` rounds what is saved to float16.
    """

    front: FrontConfig
    tables_from_centroids: bool = False
    freeze_tables: bool = False
    half_precision: bool = False


@dataclass(frozen=True, kw_only=True)
class Batches:
    """What a step sees: `batch_seconds` of speech, in clips of at most `crop_seconds`.

    `layer_dropout` leaves layers out of an utterance (never all), each with this probability. `time_masks` spans, each
    of at most `time_mask_share` of a clip, are hidden from the head.
    """

    batch_seconds: float
    crop_seconds: float | None = None
    layer_dropout: float = 0.0
    time_masks: int = 0
    time_mask_share: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.layer_dropout < 1 or not 0 <= self.time_mask_share <= 1 or self.time_masks < 0:
            raise ConfigError(
                f"layer_dropout must be in 0 ... 1, time_mask_share too and time_masks at least 0, got "
                f"{self.layer_dropout}, {self.time_mask_share} and {self.time_masks}"
            )


@dataclass(frozen=True, kw_only=True)
class TaskSchedule(Schedule):
    """The rate rises over `warmup_steps` and falls along a cosine to a twentieth; weights decay by AdamW."""

    weight_decay: float = 0.01

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine to a twentieth."""
        warm = min(1.0, step / max(1, self.warmup_steps))
        return self.learning_rate * warm * (0.05 + 0.95 * (1 + math.cos(math.pi * step / self.steps)) / 2)


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """A task on the tokens of `tokenizer`, a bundled name, a folder or a hub id; the run writes to `folder`.

    Each section has one owner: the clips `data`, the trainer `network` and `schedule`, the objective `batches`.
    """

    folder: str
    tokenizer: str
    data: TaskData = field(metadata=SECTION)
    network: FrontTraining = field(metadata=SECTION)
    batches: Batches = field(metadata=SECTION)
    schedule: TaskSchedule = field(metadata=SECTION)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.data.features and (self.network.tables_from_centroids or self.network.freeze_tables):
            raise ConfigError("features have no tables: leave out tables_from_centroids and freeze_tables")
