"""Where speech for training comes from: folders, manifests and datasets, read one recording after the other."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from torch import Tensor

from semtok.audio.files import list_audio
from semtok.audio.io import load_audio
from semtok.errors import AudioError
from semtok.speech.clip import Clip
from semtok.speech.store import Part
from semtok.training.config import Dataset

logger = logging.getLogger(__name__)

# As many recordings are in memory at once, decoded.
_READ_AHEAD = 64
_READERS = 8
# Of a shard of a store.
_PART_FILES = 64


Row: TypeAlias = dict[str, str]
"""What a manifest says of a clip, by column; `path` is where it is."""

Key = TypeVar("Key")


def find_clips(data: Sequence[str | Path | Dataset], leave_out_splits: Sequence[str] = ()) -> list[Path | Dataset]:
    """The audio files of folders and manifests, one by one; datasets stand for themselves.

    Folders and manifests as `semtok.audio.files.list_audio` reads them. Rows of manifests whose column `split` is one
    of `leave_out_splits` are left out.

    Raises:
        AudioError: if a folder or manifest is missing or names no audio.
    """
    rows = find_rows(data, leave_out_splits)
    return [row if isinstance(row, Dataset) else Path(row["path"]) for row in rows]


def find_rows(data: Sequence[str | Path | Dataset], leave_out_splits: Sequence[str] = ()) -> list[Row | Dataset]:
    """As `find_clips`, with all columns of the manifests."""
    rows: list[Row | Dataset] = []
    for entry in data:
        if isinstance(entry, Dataset):
            rows.append(entry)
            continue
        listing = list_audio(Path(entry))
        rows += [
            {name: str(value) for name, value in columns.items() if value is not None} | {"path": str(path)}
            for path, columns in listing.entries
            if columns.get("split") not in leave_out_splits
        ]
        if listing.left_out:
            logger.warning("left out of %s: %s", entry, listing.describe_left_out())
    return rows


def read_clips(clips: Sequence[Path | Dataset], *, sample_rate: int) -> Iterator[tuple[str, Tensor | AudioError]]:
    """The name of each clip with its float32 [samples] at `sample_rate`, or why it cannot be read; files come first.

    Raises:
        AudioError: a dataset that cannot be loaded.
    """
    rows = [clip if isinstance(clip, Dataset) else {"path": str(clip)} for clip in clips]
    return ((row["path"], waveform) for row, waveform in read_rows(rows, sample_rate=sample_rate))


def read_rows(rows: Sequence[Row | Dataset], *, sample_rate: int) -> Iterator[tuple[Row, Tensor | AudioError]]:
    """As `read_clips`, with all columns; of datasets with those that are text or numbers, and their split."""
    yield from _decode(((row, Path(row["path"])) for row in rows if not isinstance(row, Dataset)), sample_rate)
    for dataset in rows:
        if isinstance(dataset, Dataset):
            samples_left = math.inf if dataset.hours is None else dataset.hours * 3600 * sample_rate
            for row, waveform in _decode(_recordings(dataset), sample_rate):
                yield row, waveform
                samples_left -= len(waveform) if isinstance(waveform, Tensor) else 0
                if samples_left <= 0:
                    break


def parts_of(rows: Sequence[Row | Dataset], sample_rate: int) -> list[Part]:
    """The parts of a store that is made of these: 64 files each, and each dataset."""

    def read(rows: Sequence[Row | Dataset]) -> Iterator[tuple[Clip, Tensor | AudioError]]:
        return ((to_clip(row), waveform) for row, waveform in read_rows(rows, sample_rate=sample_rate))

    files = [row for row in rows if not isinstance(row, Dataset)]
    parts = []
    for first in range(0, len(files), _PART_FILES):
        some = files[first : first + _PART_FILES]
        parts.append(Part([_stamp(Path(row["path"])) for row in some], partial(read, some), list(map(to_clip, some))))
    return parts + [Part(dataclasses.asdict(row), partial(read, [row])) for row in rows if isinstance(row, Dataset)]


def to_clip(row: Row) -> Clip:
    return Clip(row["path"], row["path"], columns=row)


def _stamp(path: Path) -> list[Any]:
    """Says where a file is, and whether it was replaced."""
    try:
        stat = path.stat()
    except OSError:
        return [str(path.absolute())]
    return [str(path.absolute()), stat.st_size, stat.st_mtime_ns]


def _decode(
    recordings: Iterable[tuple[Key, Path | bytes]], sample_rate: int
) -> Iterator[tuple[Key, Tensor | AudioError]]:
    """Several threads decode, a bounded number of recordings ahead."""

    def read(recording: tuple[Key, Path | bytes]) -> tuple[Key, Tensor | AudioError]:
        key, content = recording
        try:
            return key, load_audio(content, sample_rate=sample_rate)
        except AudioError as error:
            return key, error

    remaining = iter(recordings)
    with ThreadPoolExecutor(_READERS) as pool:
        while ahead := list(islice(remaining, _READ_AHEAD)):
            yield from pool.map(read, ahead)


def _recordings(dataset: Dataset) -> Iterator[tuple[Row, bytes]]:
    """The rows of a dataset as encoded audio: `datasets` itself would need torchcodec to decode them."""
    import datasets
    import fsspec

    try:
        rows = datasets.load_dataset(
            dataset.dataset, dataset.config, split=dataset.split, revision=dataset.revision, streaming=dataset.streaming
        )
        if dataset.audio not in (columns := rows.column_names or [dataset.audio]):
            raise ValueError(f"it has no column {dataset.audio!r}, `audio` is to name one of {columns}")
        rows = rows.cast_column(dataset.audio, datasets.Audio(decode=False))
        for number, row in enumerate(rows):
            content, path = row[dataset.audio]["bytes"], row[dataset.audio]["path"]
            if content is None:
                with fsspec.open(path) as file:
                    content = file.read()
            name = f"{dataset.dataset} {dataset.split} {number} {path or ''}".rstrip()
            texts = {key: str(value) for key, value in row.items() if isinstance(value, (str, int, float))}
            yield texts | {"split": dataset.split, "path": name}, content
    except (ImportError, OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        # the cause first: a DatasetGenerationError says nothing itself
        reason = error.__cause__ or error
        raise AudioError(f"dataset {dataset.dataset}, split {dataset.split}, cannot be read: {reason}") from error
