"""Speech for training, decoded once into a store, and batches of crops of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semtok.errors import AudioError
from semtok.speech.clip import Clip
from semtok.speech.reading import Data, Speech
from semtok.speech.store import ALONE, Copies, Form, Part, Processes, Store, open_store, parts_of
from semtok.support.arrays import Integers


@dataclass(frozen=True)
class Samples:
    """Makes 16-bit samples of waveforms; those shorter than half a second are left out."""

    sample_rate: int

    @property
    def identity(self) -> Any:
        return {"samples": self.sample_rate}

    @property
    def forms(self) -> Mapping[str, Form]:
        return {"samples": Form(np.dtype(np.int16))}

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        for number, waveform in enumerate(waveforms):
            if len(waveform) < self.sample_rate // 2:
                yield number, AudioError(f"{len(waveform)} samples, less than half a second")
            else:
                yield number, [{"samples": (waveform.clamp(-1, 1) * 32767).short().numpy()}]


@dataclass(frozen=True)
class Corpus:
    """Clips of 16-bit audio in a store of `Samples`."""

    store: Store

    def __len__(self) -> int:
        return len(self.store)

    @property
    def clips(self) -> list[Clip]:
        """What is known of each clip."""
        return self.store.clips

    @property
    def digest(self) -> str:
        """Another digest is other audio."""
        return self.store.digest

    @property
    def lengths(self) -> Integers:
        """Samples of each clip, [clips]."""
        return self.store["samples"].lengths

    def waveform(self, clip: int, start: int = 0, length: int | None = None) -> Tensor:
        """float32 [samples] in [-1, 1]: `length` samples of a clip from `start` (all of it by default)."""
        samples = self.store["samples"][clip, 0, slice(start, None if length is None else start + length)]
        return torch.from_numpy(samples.astype(np.float32) / 32768)

    def parts(self) -> list[Part]:
        """The parts of a store that is made of this corpus."""
        return self.store.parts(self.waveform)

    def split(self, validation_clips: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Clip numbers for training and for validation; the same seed gives the same split.

        Raises:
            AudioError: if none would be left for training.
        """
        if validation_clips >= len(self):
            raise AudioError(
                f"{len(self)} clips of audio, {validation_clips} of them for validation: none left to train on"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        return np.sort(order[validation_clips:]), np.sort(order[:validation_clips])


@dataclass(frozen=True)
class CorpusVoices:
    """Waveforms [samples] of some clips of a corpus, read when they are asked for."""

    corpus: Corpus
    clips: np.ndarray

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.corpus.waveform(self.clips[number]).numpy()


def load_corpus(
    data: Sequence[Data],
    cache: Path,
    *,
    sample_rate: int,
    leave_out_splits: Sequence[str] = (),
    processes: Processes = ALONE,
) -> Corpus:
    """The clips of sources, decoded into `cache` the first time: 115 MB an hour at 16 kHz.

    Clips whose column `split` is one of `leave_out_splits` are no part of it. Clips that cannot be read or
    are shorter than half a second are left out, counted and listed in `cache/left_out.json`. What changes among the
    recordings is decoded anew.

    Raises:
        AudioError: if a source is missing or no clip could be read.
    """
    parts = parts_of(Speech(data, leave_out_splits=leave_out_splits), sample_rate)
    store = open_store(parts, Samples(sample_rate), cache, processes=processes, description="decoding audio")
    if len(store) == 0:
        raise AudioError(f"no readable audio in {', '.join(map(str, data))}; left out: {store.left_out}")
    return Corpus(store)


def length_batches(
    lengths: np.ndarray, clips: np.ndarray, batch_samples: int, crop: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Endless batches of clip numbers of similar length, `batch_samples` a batch once cropped to the shortest.

    Every clip comes once an epoch; a small jitter in the order by length makes other batches each time.
    """
    while True:
        jittered = np.minimum(lengths[clips], crop) * generator.uniform(0.9, 1.1, len(clips))
        order = clips[np.argsort(jittered)]
        cropped = np.minimum(lengths[order], crop)
        batches, start = [], 0
        while start < len(order):
            size = max(1, int(batch_samples // cropped[start]))
            batches.append(order[start : start + size])
            start += size
        for number in generator.permutation(len(batches)):
            yield batches[number]


def crop_batch(
    corpus: Corpus, clips: np.ndarray, crop: int, hop_length: int, generator: np.random.Generator
) -> tuple[Tensor, np.ndarray]:
    """Crops [batch, samples] at random starts on the frame grid, all as long as the shortest; starts in frames."""
    length = int(min(crop, corpus.lengths[clips].min()))
    starts = np.array([generator.integers(0, (corpus.lengths[clip] - length) // hop_length + 1) for clip in clips])
    crops = [corpus.waveform(c, int(s) * hop_length, length) for c, s in zip(clips, starts, strict=True)]
    return torch.stack(crops), starts


def seeded(*numbers: int) -> torch.Generator:
    """A generator of its own for each tuple of numbers, such as (seed, step, share)."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
