"""Where speech for training comes from: folders, manifests and datasets, read one recording after the other."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from torch import Tensor

from semtok.audio.files import AUDIO_SUFFIXES, find_files
from semtok.audio.io import load_audio
from semtok.errors import AudioError
from semtok.training.config import Dataset

# As many recordings are in memory at once, decoded.
_READ_AHEAD = 64
_READERS = 8


def find_clips(data: Sequence[str | Path | Dataset], leave_out_splits: Sequence[str] = ()) -> list[Path | Dataset]:
    """The audio files of folders and manifests, one by one; datasets stand for themselves.

    A manifest is a .csv or .jsonl file with a column `path`, relative to where it lies. Of a folder, those files that
    the manifests in it (`manifest.csv`, `manifest.jsonl`) list, else every audio file below. Rows of manifests whose
    column `split` is one of `leave_out_splits` are left out.

    Raises:
        AudioError: if a folder or manifest is missing or names no audio.
    """
    clips: list[Path | Dataset] = []
    for entry in data:
        clips += [entry] if isinstance(entry, Dataset) else _find_files(Path(entry), leave_out_splits)
    return clips


def _find_files(path: Path, leave_out_splits: Sequence[str]) -> list[Path]:
    if path.suffix in (".csv", ".jsonl") and not path.is_dir():
        manifests = [path]
    else:
        manifests = sorted([*path.rglob("manifest.csv"), *path.rglob("manifest.jsonl")])
    if manifests:
        files = [manifest.parent / name for manifest in manifests for name in _listed(manifest, leave_out_splits)]
    else:
        files = find_files(path)
    if not files:
        raise AudioError(
            f"no audio in {path}: expected a folder of {', '.join(AUDIO_SUFFIXES)} files or with a manifest.csv, "
            "or a manifest: a .csv or .jsonl file"
        )
    return files


def _listed(manifest: Path, leave_out_splits: Sequence[str]) -> list[str]:
    """The column `path` of a manifest."""
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file) if manifest.suffix == ".csv" else map(json.loads, filter(str.strip, file))
            return [row["path"] for row in rows if row.get("split") not in leave_out_splits]
    except FileNotFoundError as error:
        raise AudioError(f"there is no manifest {manifest} (looked from {Path.cwd()})") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise AudioError(f"{manifest} is no manifest: each row needs a `path`, {error!r}") from error


def read_clips(clips: Sequence[Path | Dataset], *, sample_rate: int) -> Iterator[tuple[str, Tensor | AudioError]]:
    """The name of each clip with its float32 [samples] at `sample_rate`, or why it cannot be read; files come first.

    Raises:
        AudioError: a dataset that cannot be loaded.
    """
    yield from _decode(((str(clip), clip) for clip in clips if isinstance(clip, Path)), sample_rate)
    for dataset in clips:
        if isinstance(dataset, Dataset):
            samples_left = math.inf if dataset.hours is None else dataset.hours * 3600 * sample_rate
            for name, waveform in _decode(_recordings(dataset), sample_rate):
                yield name, waveform
                samples_left -= len(waveform) if isinstance(waveform, Tensor) else 0
                if samples_left <= 0:
                    break


def _decode(
    recordings: Iterable[tuple[str, Path | bytes]], sample_rate: int
) -> Iterator[tuple[str, Tensor | AudioError]]:
    """Several threads decode, a bounded number of recordings ahead."""

    def read(recording: tuple[str, Path | bytes]) -> tuple[str, Tensor | AudioError]:
        name, content = recording
        try:
            if isinstance(content, Path):
                return name, load_audio(content, sample_rate=sample_rate)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "recording"
                file.write_bytes(content)
                return name, load_audio(file, sample_rate=sample_rate)
        except AudioError as error:
            return name, error

    remaining = iter(recordings)
    with ThreadPoolExecutor(_READERS) as pool:
        while ahead := list(islice(remaining, _READ_AHEAD)):
            yield from pool.map(read, ahead)


def _recordings(dataset: Dataset) -> Iterator[tuple[str, bytes]]:
    """The rows of a dataset as encoded audio: `datasets` itself would need torchcodec to decode them."""
    import datasets
    import fsspec

    try:
        rows = datasets.load_dataset(
            dataset.dataset, dataset.config, split=dataset.split, revision=dataset.revision, streaming=dataset.streaming
        )
        if dataset.audio not in (columns := rows.column_names or [dataset.audio]):
            raise ValueError(f"it has no column {dataset.audio!r}, `audio` is to name one of {columns}")
        rows = rows.select_columns(dataset.audio).cast_column(dataset.audio, datasets.Audio(decode=False))
        for number, row in enumerate(rows):
            content, path = row[dataset.audio]["bytes"], row[dataset.audio]["path"]
            if content is None:
                with fsspec.open(path) as file:
                    content = file.read()
            yield f"{dataset.dataset} {dataset.split} {number} {path or ''}".rstrip(), content
    except (ImportError, OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        # the cause first: a DatasetGenerationError says nothing itself
        reason = error.__cause__ or error
        raise AudioError(f"dataset {dataset.dataset}, split {dataset.split}, cannot be read: {reason}") from error
