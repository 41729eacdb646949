"""Clips with what their manifests say of them, tokenised once: what a task learns from."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from semtok.codebooks.codebooks import Codebooks
from semtok.errors import AudioError
from semtok.speech.clip import Clip
from semtok.speech.reading import Speech
from semtok.speech.store import ALONE, Copies, Form, Maker, Part, Processes, Store, open_store, parts_of
from semtok.tokenizer import Tokenizer
from semtok.training.data.disturbances import Disturber
from semtok.training.data.encoded import Codes, Features
from semtok.training.data.noises import Background
from semtok.training.downstream.config import AugmentationConfig, TaskData

Row: TypeAlias = dict[str, str]
"""What the columns of a clip say as text, and its `path`."""


class Clips:
    """Rows of manifests, and the tokens or features of each clip and of its changed copies.

    Args:
        store: "codes" [frames, rows] or "features" [frames, layers, dim] of each clip.
        changed: either of the copies of some of the clips.
        columns: which rows of codes, and which layers of features, are used.
    """

    def __init__(self, store: Store, changed: Store, columns: Mapping[str, Sequence[int]]) -> None:
        self.rows = [_row(clip) for clip in store.clips]
        self._columns = {name: list(used) for name, used in columns.items()}
        (self._name,), (self._changed_name,) = store.names, changed.names
        self._values, self._changed = store[self._name], changed[self._changed_name]
        # The clips that have copies are some of all, in the same order; a manifest may list a clip twice.
        self._changed_numbers: list[int | None] = []
        number = 0
        for clip in store.clips:
            has_copies = number < len(changed) and changed.clips[number] == clip
            self._changed_numbers.append(number if has_copies else None)
            number += has_copies

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def frames(self) -> np.ndarray:
        """Frames of each clip itself, [clips]."""
        return self._values.lengths

    def copies(self, clip: int) -> int:
        """How many there are of a clip, itself among them."""
        number = self._changed_numbers[clip]
        return 1 if number is None else 1 + self._changed.copies(number)

    def frames_of(self, clip: int, copy: int = 0) -> int:
        return len(self._read(clip, copy, slice(None)))

    def inputs(self, clip: int, copy: int = 0, start: int = 0, frames: int | None = None) -> Tensor:
        """Codes int64 [rows, frames] or features float32 [layers, frames, dim], of `frames` frames from `start`."""
        name = self._name if copy == 0 else self._changed_name
        values = self._read(clip, copy, slice(start, None if frames is None else start + frames))
        values = values[:, self._columns[name]].astype(np.int64 if name == "codes" else np.float32)
        return torch.from_numpy(values).transpose(0, 1)

    def _read(self, clip: int, copy: int, frames: slice) -> np.ndarray:
        number = self._changed_numbers[clip]
        if copy == 0 or number is None:
            return self._values[clip, copy, frames]
        return self._changed[number, copy - 1, frames]


def load_clips(
    data: TaskData,
    tokenizer: Tokenizer,
    cache: Path,
    *,
    augmented_splits: Callable[[str | None], bool] = lambda split: True,
    targets_are_codes: bool = False,
    seed: int = 0,
    processes: Processes = ALONE,
) -> Clips:
    """Clips of sources, their copies made and all tokenised into `cache` the first time.

    What was tokenised with the same tokenizer is used again, by other tasks and layers, and so are copies made by the
    same augmentation. Clips that are gone, cannot be read or are shorter than two frames are left out, counted, and
    listed in `left_out.json`.

    Args:
        data: the section of the config.
        augmented_splits: of which splits copies are made.
        targets_are_codes: with `features` these are made of copies alone; of the clips themselves codes, to be learnt.

    Raises:
        AudioError: a source is missing, or no clip could be read.
        LayerError: the tokenizer lacks a layer.
    """
    speech, augmentation = Speech(data.sources, leave_out_splits=data.leave_out_splits), data.augmentation
    least = 2 * tokenizer.encoder.minimum_samples
    parts = [_long_enough(part, least) for part in parts_of(speech, tokenizer.sample_rate)]
    codes, features = Codes(tokenizer), Features(tokenizer.encoder, tokenizer.layers, tokenizer.fingerprint)
    maker: Maker = features if data.features else codes
    of_clips = codes if targets_are_codes else maker
    store = open_store(parts, of_clips, cache, processes=processes, description="tokenising")
    if len(store) == 0:
        raise AudioError(f"no readable audio in {', '.join(map(str, data.sources))}; left out: {store.left_out}")
    background = None
    if augmentation.disturbances is not None:
        measured = [*data.leave_out_splits, *data.validation_splits, *data.test_splits]
        background = Background(augmentation.disturbances, data.sources, measured, tokenizer.sample_rate)
    changing = Changed(maker, augmentation, background, tokenizer.sample_rate, seed)
    splits = {split for clip in store.clips if augmented_splits(split := clip.columns.get("split"))}
    augmented = [_only(part, splits) for part in parts] if augmentation.speeds or augmentation.noisy_copies else []
    changed = open_store(augmented, changing, cache / "copies", processes=processes, description="tokenising copies")
    return Clips(store, changed, _columns(data.select(tokenizer.codebooks), tokenizer.codebooks))


@dataclass(frozen=True)
class Changed:
    """Makes what another maker makes, of changed copies of waveforms: one at each speed, then those disturbed.

    Args:
        maker: of the arrays of each copy; the copies of a clip follow each other.
        augmentation: how waveforms are changed.
        background: what is heard in disturbed copies, loaded once they are needed.
        sample_rate: of the waveforms, Hz.
        seed: of what is drawn for a waveform, together with its samples.
    """

    maker: Maker
    augmentation: AugmentationConfig
    background: Background | None
    sample_rate: int
    seed: int

    @property
    def identity(self) -> Any:
        background = None if self.background is None else self.background.identity
        return {
            "of": self.maker.identity,
            "augmentation": dataclasses.asdict(self.augmentation) | {"disturbances": background},
            "seed": self.seed if background else 0,
        }

    @property
    def forms(self) -> Mapping[str, Form]:
        return self.maker.forms

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        copies = [self._change(waveform.numpy()) for waveform in waveforms]
        owners = [number for number, of_clip in enumerate(copies) for _ in of_clip]
        arrays: dict[int, Copies | AudioError] = dict(self.maker.make([copy for of_clip in copies for copy in of_clip]))
        for number in range(len(waveforms)):
            of_clip = [arrays[place] for place, owner in enumerate(owners) if owner == number]
            errors = [copy for copy in of_clip if isinstance(copy, AudioError)]
            yield number, errors[0] if errors else [copy[0] for copy in of_clip if not isinstance(copy, AudioError)]

    @cached_property
    def _disturber(self) -> Disturber:
        assert self.background is not None
        return self.background.load()

    def _change(self, clean: np.ndarray) -> list[Tensor]:
        import soxr

        rate, generator = self.sample_rate, np.random.default_rng((self.seed, zlib.crc32(clean.tobytes())))
        faster = [soxr.resample(clean, rate * speed, rate).astype(np.float32) for speed in self.augmentation.speeds]
        speech, count = torch.from_numpy(clean), self.augmentation.noisy_copies
        disturbed = [self._disturber.disturb(speech, generator) for _ in range(count)]
        return [*map(torch.from_numpy, faster), *disturbed]


def _columns(used: Codebooks, codebooks: Codebooks) -> dict[str, list[int]]:
    """Of all rows of codes, and layers of features, of a tokenizer's codebooks: those of the codebooks used."""
    rows = codebooks.rows
    return {
        "codes": [rows[layer].start + stage for layer in used for stage in range(len(used[layer]))],
        "features": [list(codebooks).index(layer) for layer in used],
    }


def _row(clip: Clip) -> Row:
    columns = {name: clip.label(name) for name, value in clip.columns.items() if value is not None}
    return columns | {"path": clip.path}


def _long_enough(part: Part, samples: int) -> Part:
    """The same, but waveforms with fewer samples are errors."""

    def read() -> Iterator[tuple[Clip, Tensor | AudioError]]:
        for clip, waveform in part.read():
            if isinstance(waveform, Tensor) and len(waveform) < samples:
                yield clip, AudioError(f"{len(waveform)} samples, hardly a frame")
            else:
                yield clip, waveform

    return dataclasses.replace(part, read=read, identity=[part.identity, samples])


def _only(part: Part, splits: set[str | None]) -> Part:
    """The clips of a part that are of one of these splits."""

    def is_chosen(clip: Clip) -> bool:
        return clip.columns.get("split") in splits

    return Part(
        [part.identity, [is_chosen(clip) for clip in part.clips] or sorted(map(str, splits))],
        lambda: ((clip, waveform) for clip, waveform in part.read() if is_chosen(clip)),
        [clip for clip in part.clips if is_chosen(clip)],
    )
