"""Clips with what their manifests say of them, tokenised once: what a task learns from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from semtok.audio.disturbances import add_noise
from semtok.codebooks.codebooks import Codebooks
from semtok.errors import AudioError
from semtok.speech.clip import Clip
from semtok.speech.reading import Data, Speech
from semtok.support.atomic import atomic_write
from semtok.support.progress import progress_bar
from semtok.tokenizer import Tokenizer
from semtok.training.data.noises import load_noises
from semtok.training.downstream.config import AugmentationConfig

_CLIPS_AT_ONCE = 16

Row: TypeAlias = dict[str, str]
"""What the columns of a clip say as text, and its `path`."""


@dataclass(frozen=True)
class Clips:
    """Rows of manifests, and the tokens or features of each clip and its copies.

    Args:
        rows: what the manifest says of each clip, by column; `path` is where it is.
        values: int16 [frames, rows of codes] or float16 [frames, layers x dim] of all clips, one after the other.
        starts: frames [copies + 1] where each copy of a clip begins in `values`, by clip; the first is the clip itself.
        columns: those of `values` that are used.
        layers: how many, of features; None for codes.
    """

    rows: list[Row]
    values: np.ndarray
    starts: list[list[int]]
    columns: np.ndarray
    layers: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def frames(self) -> np.ndarray:
        """Frames of each clip itself, [clips]."""
        return np.array([starts[1] - starts[0] for starts in self.starts])

    def copies(self, clip: int) -> int:
        """How many there are of a clip, itself among them."""
        return len(self.starts[clip]) - 1

    def frames_of(self, clip: int, copy: int = 0) -> int:
        return self.starts[clip][copy + 1] - self.starts[clip][copy]

    def inputs(self, clip: int, copy: int = 0, start: int = 0, frames: int | None = None) -> Tensor:
        """Codes int64 [rows, frames] or features float32 [layers, frames, dim], of `frames` frames from `start`."""
        first, last = self.starts[clip][copy] + start, self.starts[clip][copy + 1]
        values = self.values[first : last if frames is None else min(last, first + frames)][:, self.columns]
        if self.layers is None:
            return torch.from_numpy(values.astype(np.int64)).T
        features: Tensor = torch.from_numpy(values.astype(np.float32)).unflatten(1, (self.layers, -1)).transpose(0, 1)
        return features

    def where(self, keep: Callable[[Row], bool]) -> np.ndarray:
        """The numbers of the clips whose rows are to be kept."""
        return np.array([number for number, row in enumerate(self.rows) if keep(row)], dtype=np.int64)


def load_clips(
    data: Sequence[Data],
    tokenizer: Tokenizer,
    cache: Path,
    *,
    codebooks: Codebooks,
    augmentation: AugmentationConfig,
    augmented_splits: Callable[[str | None], bool] = lambda split: True,
    leave_out_splits: Sequence[str] = (),
    features: bool = False,
    seed: int = 0,
) -> Clips:
    """Clips of manifests and datasets, their copies made and all tokenised into a folder of `cache` the first time.

    What was tokenised with the same tokenizer and augmentation is used again, by other tasks and layers. Clips that are
    gone, cannot be read or are shorter than a frame are skipped, counted, and listed in the folder's `index.json`.

    Args:
        codebooks: those of the tokenizer that are to be used.
        augmented_splits: of which splits copies are made.
        features: keep the encoder's features instead of tokens.

    Raises:
        AudioError: a source is missing, or no clip could be read.
    """
    speech = Speech(data, leave_out_splits=leave_out_splits)
    listed = [_row(clip) for clip in speech.clips] if speech.is_listed else []
    changes = bool(augmentation.speeds or augmentation.noisy_copies)
    about = {
        "tokenizer": tokenizer.fingerprint,
        "layers": tokenizer.layers,
        "features": features,
        "augmentation": dataclasses.asdict(augmentation),
        "seed": seed if augmentation.noisy_copies else 0,
        # Not what else a manifest says: texts, labels and splits may change.
        "clips": speech.stamps,
        "copies": [changes and augmented_splits(row.get("split")) for row in listed],
    }
    folder = cache / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    index_file, values_file = folder / "index.json", folder / "values"
    if not index_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        noises = load_noises(augmentation.noise, data=data, sample_rate=tokenizer.sample_rate)
        with atomic_write(values_file) as aside:
            kept, starts, skipped = _tokenize(
                ((_row(clip), waveform) for clip, waveform in speech.read(tokenizer.sample_rate)),
                len(listed) if speech.is_listed else None,
                tokenizer,
                aside,
                lambda row, waveform, number: (
                    _copies(
                        waveform, augmentation, noises, tokenizer.sample_rate, np.random.default_rng((seed, number))
                    )
                    if augmented_splits(row.get("split"))
                    else [waveform]
                ),
                features=features,
            )
        index = {"tokenizer": tokenizer.fingerprint, "clips": kept, "starts": starts, "skipped": skipped}
        with atomic_write(index_file) as aside:
            aside.write_text(json.dumps(index))
    index = json.loads(index_file.read_text())
    if not index["clips"]:
        raise AudioError(f"no readable audio in {', '.join(map(str, data))}; skipped: {index['skipped']}")
    rows_of_clips = [listed[number] if listed else row for number, row in index["clips"]]
    values: np.ndarray = np.memmap(values_file, np.float16 if features else np.int16, mode="r")
    dim = tokenizer.encoder.dim
    if features:
        firsts = [tokenizer.layers.index(layer) * dim for layer in codebooks]
        columns = np.concatenate([np.arange(first, first + dim) for first in firsts])
        values = values.reshape(-1, len(tokenizer.layers) * dim)
        return Clips(rows_of_clips, values, index["starts"], columns, len(codebooks))
    rows_of = tokenizer.codebooks.rows
    columns = np.concatenate([rows_of[layer].start + np.arange(len(sizes)) for layer, sizes in codebooks.items()])
    values = values.reshape(-1, len(tokenizer.codebooks.sizes))
    return Clips(rows_of_clips, values, index["starts"], columns)


def _row(clip: Clip) -> Row:
    columns = {name: clip.label(name) for name, value in clip.columns.items() if value is not None}
    return columns | {"path": clip.path}


def _copies(
    waveform: Tensor,
    augmentation: AugmentationConfig,
    noises: Sequence[np.ndarray],
    sample_rate: int,
    generator: np.random.Generator,
) -> list[Tensor]:
    """A clip [samples], then at each speed, then with each noise."""
    import soxr

    clean = waveform.numpy()
    copies = [clean]
    copies += [
        soxr.resample(clean, sample_rate * speed, sample_rate).astype(np.float32) for speed in augmentation.speeds
    ]
    copies += [
        add_noise(clean, noises[int(generator.integers(len(noises)))], generator.uniform(*augmentation.snr), generator)
        for _ in range(augmentation.noisy_copies)
    ]
    return [torch.from_numpy(copy) for copy in copies]


def _tokenize(
    clips: Iterator[tuple[Row, Tensor | AudioError]],
    count: int | None,
    tokenizer: Tokenizer,
    target: Path,
    copies: Callable[[Row, Tensor, int], list[Tensor]],
    *,
    features: bool,
) -> tuple[list[tuple[int, Row]], list[list[int]], dict[str, str]]:
    """Writes the tokens of all copies of all clips.

    Returns:
        The number and the row of each clip that is kept, where its copies start, and why others were not kept.
    """
    rows: list[tuple[int, Row]] = []
    starts: list[list[int]] = []
    skipped: dict[str, str] = {}
    end = 0
    with target.open("wb") as out, progress_bar("tokenising", count) as bar:
        numbered = enumerate(clips)
        while block := list(islice(numbered, _CLIPS_AT_ONCE)):
            usable: list[tuple[int, Row, list[Tensor]]] = []
            for number, (row, waveform) in block:
                bar.advance()
                if isinstance(waveform, AudioError):
                    skipped[row["path"]] = str(waveform)
                elif len(waveform) < 2 * tokenizer.encoder.minimum_samples:
                    skipped[row["path"]] = f"{len(waveform)} samples, hardly a frame"
                else:
                    usable.append((number, row, copies(row, waveform, number)))
            if not usable:
                continue
            values = _values([copy for *_, made in usable for copy in made], tokenizer, features=features)
            for number, row, made in usable:
                rows.append((number, row))
                starts.append([end])
                for _ in made:
                    value = next(values)
                    out.write(value.contiguous().numpy().tobytes())
                    end += len(value)
                    starts[-1].append(end)
        bar.print(f"{len(rows)} clips tokenised; {len(skipped)} skipped, the reasons are in index.json")
    return rows, starts, skipped


def _values(waveforms: list[Tensor], tokenizer: Tokenizer, *, features: bool) -> Iterator[Tensor]:
    """int16 [frames, rows] or float16 [frames, layers x dim] of each waveform."""
    if features:
        found = tokenizer.features(waveforms).transpose(1, 2).flatten(2).half().cpu()
        counts = [tokenizer.encoder.frame_count(len(waveform)) for waveform in waveforms]
        yield from (clip[:frames] for clip, frames in zip(found, counts, strict=True))
        return
    tokens = tokenizer.encode(waveforms)
    for codes, length in zip(tokens.codes.short().cpu(), tokens.lengths.tolist(), strict=True):
        yield codes[:, :length].T
