"""Where speech for training comes from: folders, manifests and datasets, read one recording after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from torch import Tensor

from semtok.audio.files import list_audio
from semtok.audio.io import load_audio
from semtok.errors import AudioError
from semtok.training.config import Dataset

logger = logging.getLogger(__name__)

# As many recordings are in memory at once, decoded.
_READ_AHEAD = 64
_READERS = 8


def find_clips(data: Sequence[str | Path | Dataset], leave_out_splits: Sequence[str] = ()) -> list[Path | Dataset]:
    """The audio files of folders and manifests, one by one; datasets stand for themselves.

    Folders and manifests as `semtok.audio.files.list_audio` reads them. Rows of manifests whose column `split` is one
    of `leave_out_splits` are left out.

    Raises:
        AudioError: if a folder or manifest is missing or names no audio.
    """
    clips: list[Path | Dataset] = []
    for entry in data:
        if isinstance(entry, Dataset):
            clips.append(entry)
            continue
        listing = list_audio(Path(entry))
        clips += [path for path, columns in listing.entries if columns.get("split") not in leave_out_splits]
        if listing.left_out:
            logger.warning("left out of %s: %s", entry, listing.describe_left_out())
    return clips


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
            return name, load_audio(content, sample_rate=sample_rate)
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
