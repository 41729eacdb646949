"""What a task is trained and measured by."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from semtok.downstream.config import DownstreamConfig
from semtok.downstream.model import DownstreamModel, TaskNetwork
from semtok.errors import AudioError
from semtok.support.intervals import Interval, bootstrap_interval
from semtok.training.downstream.clips import Clips
from semtok.training.downstream.config import TaskConfig, TaskData

TConfig = TypeVar("TConfig", bound=TaskConfig)
Batch: TypeAlias = dict[str, Any]
ClipErrors: TypeAlias = dict[str, tuple[np.ndarray, np.ndarray]]
"""By name of an error rate: the errors of each clip, and what they are errors in (1, characters, codes), [clips]."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """Some frames of a clip, or of a copy of it."""

    clip: int
    copy: int
    start: int
    frames: int


class Objective(nn.Module, ABC, Generic[TConfig]):
    """The loss of a task and the measure of its validation; holds the network and what else is trained with it.

    A task is a subclass with the methods below.

    Attributes:
        model: the class of what it trains.
        Config: the dataclass of its config.
        learns_codes: whether codes of the clips themselves are to be learnt, of whatever is the input.
    """

    model: ClassVar[type[DownstreamModel]]
    Config: ClassVar[type[TaskConfig]]
    learns_codes: ClassVar[bool] = False

    def __init__(self, config: TConfig, clips: Clips, description: DownstreamConfig) -> None:
        super().__init__()
        self.config, self.clips, self.description = config, clips, description
        usable = self.usable(range(len(clips)))
        split = {number: clips.rows[number].get("split") for number in usable}
        self.test_clips = [number for number in usable if split[number] in config.data.test_splits]
        self.validation_clips = [number for number in usable if split[number] in config.data.validation_splits]
        measured = {*self.test_clips, *self.validation_clips}
        self.training_clips = [number for number in usable if number not in measured]
        if not self.validation_clips:
            order = np.random.default_rng(config.seed).permutation(self.training_clips).tolist()
            self.validation_clips, self.training_clips = (
                sorted(order[: config.data.validation_clips]),
                sorted(order[config.data.validation_clips :]),
            )
        if not config.data.repeated_texts:
            self._leave_out_repeated_texts()
        self.description = dataclasses.replace(description, head=self.prepare())
        if not self.training_clips or not self.validation_clips:
            raise AudioError(
                f"{len(self.training_clips)} clips to train on and {len(self.validation_clips)} to validate on: "
                "both are needed; what was skipped, and why, is said above"
            )
        self.network = self.model.build_network(self.description)

    @abstractmethod
    def usable(self, clips: Sequence[int]) -> list[int]:
        """Those of the clips that have what the task needs; others are counted on stderr."""

    def text_of(self, clip: int) -> str | None:
        """What is said in a clip, normalised, for tasks that learn to write or to speak texts; None if nothing is."""
        return None

    @abstractmethod
    def prepare(self) -> dict[str, Any]:
        """Sets the targets of the clips, and answers the section `head` of the model's config.

        It may take clips that cannot be used out of all three.
        """

    @abstractmethod
    def targets(self, crops: Sequence[Crop]) -> Batch:
        """What is to be learnt from some crops, as tensors on the CPU or lists."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Numbers to report of a batch, the loss first."""

    @abstractmethod
    def measure(self, batch: Batch) -> Any:
        """What is to be known of a batch of whole clips, for `summarize`."""

    @abstractmethod
    def summarize(self, measured: Sequence[Any]) -> dict[str, float]:
        """Numbers over all batches; the first, lower for better, decides which state is best."""

    @abstractmethod
    def clip_errors(self, measured: Sequence[Any]) -> ClipErrors:
        """Errors clip by clip, in the order in which they were measured; none of rates over pairs of clips."""

    def intervals(self, measured: Sequence[Any]) -> dict[str, Interval]:
        """Of the error rates of `summarize`."""
        return {name: bootstrap_interval(*errors) for name, errors in self.clip_errors(measured).items()}

    @classmethod
    def augments(cls, data: TaskData) -> Callable[[str | None], bool]:
        """Of which splits copies are made: those to train on."""
        return lambda split: split not in {*data.validation_splits, *data.test_splits}

    def finish(self, network: TaskNetwork) -> None:
        """Sets what of a trained network is no parameter, before it is saved."""

    def complete(self, model: DownstreamModel) -> None:
        """Gives a trained model what it has beside config and weights, before it is saved."""

    def final_head(self) -> dict[str, Any]:
        """The section `head` once trained."""
        return self.description.head

    def draw(self, clip: int, generator: np.random.Generator) -> Crop:
        """A crop to train on."""
        copy = int(generator.integers(self.clips.copies(clip)))
        frames = self.clips.frames_of(clip, copy)
        length = min(frames, self.crop_frames)
        return Crop(clip, copy, int(generator.integers(frames - length + 1)), length)

    def whole(self, clip: int) -> Crop:
        """What is validated of a clip."""
        return Crop(clip, 0, 0, self.clips.frames_of(clip))

    @property
    def crop_frames(self) -> int:
        """Frames of a crop at most."""
        seconds, description = self.config.batches.crop_seconds, self.description
        if seconds is None:
            return 10**9
        return max(1, round(seconds * description.sample_rate / description.hop_length))

    def batch(self, crops: Sequence[Crop], generator: np.random.Generator | None = None) -> Batch:
        """Inputs, lengths and targets of crops; with a generator some layers are left out and some frames hidden."""
        inputs = [self.clips.inputs(crop.clip, crop.copy, crop.start, crop.frames) for crop in crops]
        batch = {
            "inputs": pad_sequence([piece.transpose(0, 1) for piece in inputs], batch_first=True).transpose(1, 2),
            "lengths": torch.tensor([crop.frames for crop in crops]),
            "present": None,
            "hidden": None,
        }
        if generator is not None:
            batch |= self._masks(batch["lengths"].tolist(), generator)  # type: ignore[union-attr]
        return batch | self.targets(crops)

    def _masks(self, lengths: list[int], generator: np.random.Generator) -> dict[str, Tensor | None]:
        config, layers = self.config.batches, len(self.description.codebooks)
        present = hidden = None
        if config.layer_dropout:
            shown = generator.random((len(lengths), layers)) >= config.layer_dropout
            shown[np.arange(len(lengths)), generator.integers(layers, size=len(lengths))] = True
            present = torch.from_numpy(shown)
        if config.time_masks:
            hidden = torch.zeros(len(lengths), max(lengths), dtype=torch.bool)
            for row, length in zip(hidden, lengths, strict=True):
                for _ in range(config.time_masks):
                    width = int(generator.integers(int(config.time_mask_share * length) + 1))
                    start = int(generator.integers(length - width + 1))
                    row[start : start + width] = True
        return {"present": present, "hidden": hidden}

    def run(self, batch: Batch) -> Tensor:
        """What the network makes of a batch."""
        output: Tensor = self.network(batch["inputs"], batch["lengths"], batch["present"], batch["hidden"])
        return output

    def _with_column(self, clips: Sequence[int], column: str) -> list[int]:
        """The clips whose manifest says something in a column.

        Raises:
            AudioError: none does.
        """
        usable = [number for number in clips if self.clips.rows[number].get(column, "").strip()]
        if not usable:
            columns = sorted(set().union(*(row.keys() for row in self.clips.rows)))
            raise AudioError(f"no clip has anything in the column {column!r}; the manifests have {columns}")
        self.tell(len(clips) - len(usable), f"clips have nothing in the column {column!r}")
        return usable

    def _leave_out_repeated_texts(self) -> None:
        """A model that has learnt a text is not measured by it."""
        test, valid = (
            {self.text_of(clip) for clip in clips} - {None} for clips in (self.test_clips, self.validation_clips)
        )
        for name, clips, texts, where in (
            ("validation", self.validation_clips, test, "test"),
            ("training", self.training_clips, test, "test"),
            ("training", self.training_clips, valid - test, "validation"),
        ):
            repeated = [clip for clip in clips if self.text_of(clip) in texts]
            self._drop(repeated, f"of {name}, as their text is that of a {where} clip")

    def _drop(self, unusable: Sequence[int], reason: str) -> None:
        """Takes clips out of all splits, and says so."""
        gone = set(unusable)
        for name in ("training_clips", "validation_clips", "test_clips"):
            setattr(self, name, [number for number in getattr(self, name) if number not in gone])
        paths = [self.clips.rows[number]["path"] for number in unusable]
        self.tell(len(gone), f"{reason}: {', '.join(paths[:5])}{' ...' if len(paths) > 5 else ''}")

    @staticmethod
    def tell(count: int, what: str) -> None:
        if count:
            Console(stderr=True, soft_wrap=True).print(f"skipped {count} clips: {what}", markup=False, highlight=False)
