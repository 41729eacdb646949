"""Speech for training, decoded once into one memory-mapped file, and batches of crops of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semtok.errors import AudioError
from semtok.support.atomic import atomic_write
from semtok.support.progress import progress_bar
from semtok.training.config import Dataset
from semtok.training.data.sources import find_clips, read_clips


@dataclass(frozen=True)
class Corpus:
    """Clips of 16-bit audio in one memory-mapped file: `samples[starts[i] : starts[i + 1]]` is clip i."""

    samples: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each clip, [clips]."""
        return np.diff(self.starts)

    def waveform(self, clip: int, start: int = 0, length: int | None = None) -> Tensor:
        """float32 [samples] in [-1, 1]: `length` samples of a clip from `start` (all of it by default)."""
        begin = self.starts[clip] + start
        end = self.starts[clip + 1] if length is None else begin + length
        return torch.from_numpy(self.samples[begin:end].astype(np.float32) / 32768)

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


def load_corpus(
    data: Sequence[str | Path | Dataset],
    cache: str | Path,
    *,
    sample_rate: int,
    leave_out_splits: Sequence[str] = (),
) -> Corpus:
    """The corpus of folders, manifests and datasets, decoded into `cache` the first time: 115 MB an hour at 16 kHz.

    Rows of manifests whose column `split` is one of `leave_out_splits` are no part of it. Clips that cannot be read or
    are shorter than half a second are skipped, counted and listed in `cache/index.json`.

    Raises:
        AudioError: if a source is missing or no clip could be read.
    """
    cache = Path(cache)
    index_file, samples_file = cache / "index.json", cache / "samples.int16"
    clips = find_clips(data, leave_out_splits)
    named = [dataclasses.asdict(clip) if isinstance(clip, Dataset) else str(clip) for clip in clips]
    wanted = {"clips": named, "sample_rate": sample_rate}
    if not (index_file.exists() and (index := json.loads(index_file.read_text()))["wanted"] == wanted):
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_write(samples_file) as aside:
            starts, skipped = _decode(clips, aside, sample_rate)
            # Were the run killed between the two files, the old index would speak of other samples.
            index_file.unlink(missing_ok=True)
        index = {"wanted": wanted, "starts": starts, "skipped": skipped}
        with atomic_write(index_file) as aside:
            aside.write_text(json.dumps(index))
    if len(index["starts"]) < 2:
        raise AudioError(f"no readable audio in {', '.join(map(str, data))}; skipped: {index['skipped']}")
    return Corpus(np.memmap(samples_file, dtype=np.int16, mode="r"), np.asarray(index["starts"]))


def _decode(clips: Sequence[Path | Dataset], target: Path, sample_rate: int) -> tuple[list[int], dict[str, str]]:
    """Writes all clips one after the other; answers where each starts, and which were skipped, with the reason."""
    starts, skipped = [0], {}
    decoded = read_clips(clips, sample_rate=sample_rate)
    length = None if any(isinstance(clip, Dataset) for clip in clips) else len(clips)
    with target.open("wb") as out, progress_bar("decoding audio", length) as bar:
        for name, waveform in decoded:
            if isinstance(waveform, AudioError):
                skipped[name] = str(waveform)
            elif len(waveform) < sample_rate // 2:
                skipped[name] = f"{len(waveform)} samples, less than half a second"
            else:
                out.write((waveform.clamp(-1, 1) * 32767).short().numpy().tobytes())
                starts.append(starts[-1] + len(waveform))
            bar.advance()
        hours = starts[-1] / sample_rate / 3600
        bar.print(f"{len(starts) - 1} clips, {hours:.2f} h; {len(skipped)} skipped, the reasons are in index.json")
    return starts, skipped


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
