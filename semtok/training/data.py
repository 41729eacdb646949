"""Speech for training: folders of audio decoded once into one memory-mapped file, then batches of crops."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semtok.audio import load_audio
from semtok.errors import AudioError
from semtok.files import AUDIO_SUFFIXES, written_aside


def find_clips(folders: Sequence[str | Path]) -> list[Path]:
    """Audio files of `folders`: those its manifests (`manifest.csv`, column `path`) list, else every audio file below.

    Raises:
        AudioError: if a folder is missing or holds no audio.
    """
    clips: list[Path] = []
    for folder in map(Path, folders):
        manifests = sorted(folder.rglob("manifest.csv"))
        if manifests:
            found = [manifest.parent / row["path"] for manifest in manifests for row in csv.DictReader(manifest.open())]
        else:
            found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
        if not found:
            raise AudioError(f"no audio below {folder}: expected {', '.join(AUDIO_SUFFIXES)} files or a manifest.csv")
        clips += found
    return clips


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
        """Clip numbers for training and for validation; the same seed gives the same split."""
        order = np.random.default_rng(seed).permutation(len(self))
        return np.sort(order[validation_clips:]), np.sort(order[:validation_clips])


def load_corpus(folders: Sequence[str | Path], cache: str | Path, *, sample_rate: int) -> Corpus:
    """The corpus of `folders`, decoded into `cache` the first time.

    Clips that cannot be read or are shorter than half a second are skipped, and listed in `cache/index.json`.

    Raises:
        AudioError: if no clip could be read.
    """
    from rich.progress import track

    cache = Path(cache)
    index_file, samples_file = cache / "index.json", cache / "samples.int16"
    clips = find_clips(folders)
    wanted = {"clips": [str(clip) for clip in clips], "sample_rate": sample_rate}
    if not (index_file.exists() and (index := json.loads(index_file.read_text()))["wanted"] == wanted):
        cache.mkdir(parents=True, exist_ok=True)
        starts, skipped = [0], {}
        with written_aside(samples_file) as aside, aside.open("wb") as out:
            for clip in track(clips, description="decoding audio"):
                try:
                    waveform = load_audio(clip, sample_rate=sample_rate).numpy()
                except AudioError as error:
                    skipped[str(clip)] = str(error)
                    continue
                if len(waveform) < sample_rate // 2:
                    skipped[str(clip)] = f"{len(waveform)} samples, less than half a second"
                    continue
                out.write((waveform.clip(-1, 1) * 32767).astype(np.int16).tobytes())
                starts.append(starts[-1] + len(waveform))
        index = {"wanted": wanted, "starts": starts, "skipped": skipped}
        with written_aside(index_file) as aside:
            aside.write_text(json.dumps(index))
    if len(index["starts"]) < 2:
        raise AudioError(f"no readable audio in {', '.join(map(str, folders))}; skipped: {index['skipped']}")
    return Corpus(np.memmap(samples_file, dtype=np.int16, mode="r"), np.asarray(index["starts"]))


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
