"""Datasets of the Hugging Face Hub, or folders that `datasets` reads, file by file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from semtok.audio.recordings import FileRecording, Recording
from semtok.errors import AudioError, needs_extra
from semtok.speech.clip import Clip
from semtok.speech.columns import passed_columns, passed_name, type_name
from semtok.speech.sources.places import MAX_BYTES, Place
from semtok.speech.sources.source import Opened, Source

if TYPE_CHECKING:
    from datasets import IterableDataset

PREFIX = "hub:"
_OPTIONS = ("split", "config", "revision", "audio", "id")
_TYPES = {"int": "int64", "uint64": "uint64", "uint": "int64", "float": "double", "bool": "bool"}


@dataclass(frozen=True)
class Dataset:
    """Speech of a dataset of the Hugging Face Hub, or of a folder that `datasets` knows how to read.

    `dataset`, `config`, `split` and `revision` are passed to `datasets.load_dataset`; `audio` is the column of
    recordings and `id` that of ids, without which clips are numbered. With `streaming` its files are read over the
    network and not stored; `hours` ends it early.
    """

    dataset: str
    split: str
    config: str | None = None
    revision: str | None = None
    audio: str = "audio"
    streaming: bool = False
    hours: float | None = None
    id: str = "id"

    @classmethod
    def parse(cls, name: str) -> Dataset:
        """The dataset of a name "owner/name?split=train&config=clean&revision=main&audio=audio&id=id", streamed.

        Raises:
            AudioError: other options.
        """
        name, _, query = name.partition("?")
        options = dict(parse_qsl(query))
        if unknown := options.keys() - set(_OPTIONS):
            raise AudioError(f"{name} has unknown options {sorted(unknown)}: there are {sorted(_OPTIONS)}")
        return cls(name, **{"split": "train", **options}, streaming=True)  # type: ignore[arg-type]


class HubDataset(Source):
    """A split of a dataset; a row is one of its data files, or all of it.

    Columns of text and numbers are passed through, others as JSON, but for audio, pictures and films. A clip whose id
    occurred before in its file has its number added.

    Args:
        dataset: which.
        by_file: whether each data file is a row. A dataset that is one row is not looked for before it is read.
        allow_urls: whether a row may name a URL outside the Hub.

    Raises, once it is looked for:
        AudioError: a dataset that cannot be loaded, or lacks a column.
    """

    rows_are_clips = False

    def __init__(self, dataset: Dataset, *, by_file: bool, allow_urls: bool = False) -> None:
        self._dataset, self._by_file, self._allow_urls = dataset, by_file, allow_urls
        self.split = dataset.split

    def __str__(self) -> str:
        return self._dataset.dataset

    @cached_property
    def _loaded(self) -> tuple[IterableDataset, Mapping[str, Any]]:
        """The dataset with its audio left encoded, as `datasets` would need torchcodec to decode it; its features."""
        with needs_extra("corpus"):
            import datasets
        wanted = self._dataset
        with self._clear_errors():
            rows = datasets.load_dataset(
                wanted.dataset, wanted.config, split=wanted.split, revision=wanted.revision, streaming=wanted.streaming
            )
            rows = rows if wanted.streaming else rows.to_iterable_dataset()
            features = rows.features or next(iter(rows.take(1)))
            if wanted.audio not in features:
                raise ValueError(f"it has no column {wanted.audio!r}, `audio` is to name one of {sorted(features)}")
            for name, feature in features.items():
                if name == wanted.audio or isinstance(feature, datasets.Audio):
                    rows = rows.cast_column(name, datasets.Audio(decode=False))
        return rows, features

    @cached_property
    def columns(self) -> Mapping[str, str]:
        _, features = self._loaded
        kinds = {
            name: _type(features[name]) for name in features if name not in (self._dataset.audio, self._dataset.id)
        }
        return passed_columns({name: kind for name, kind in kinds.items() if kind is not None})

    def rows(self) -> Iterator[Clip]:
        if not self._by_file:
            yield Clip(self._dataset.split, self._dataset.split)
            return
        rows, _ = self._loaded
        for number in range(rows.num_shards):
            name = f"{self._dataset.split}-{number:05}"
            yield Clip(name, name)

    def recordings(self, rows: Iterable[Clip], sample_rate: int) -> Iterator[Opened]:
        samples_left = math.inf if self._dataset.hours is None else self._dataset.hours * 3600 * sample_rate
        loaded, _ = self._loaded
        for file in rows:
            with self._clear_errors():
                number = int(file.id.rpartition("-")[2]) if self._by_file else None
                of_file = loaded if number is None else loaded.shard(num_shards=loaded.num_shards, index=number)
                ids: set[str] = set()
                for index, record in enumerate(of_file):
                    clip, recording = self._open(record, f"{file.id}-{index:07}", ids, sample_rate)
                    yield clip, recording
                    samples_left -= _samples(recording) if self._dataset.hours is not None else 0
                    if samples_left <= 0:
                        return

    def _open(self, record: Mapping[str, Any], number: str, ids: set[str], sample_rate: int) -> Opened:
        audio = record[self._dataset.audio] or {}
        path = audio.get("path") or number
        name = record.get(self._dataset.id)
        name = number if name is None or name == "" else str(name)
        name = f"{name}-{number}" if name in ids else name
        ids.add(name)
        columns = {passed_name(column): value for column, value in record.items()}
        clip = Clip(name, path, columns={column: columns[column] for column in self.columns})
        try:
            content = self._read(path) if audio.get("bytes") is None else audio["bytes"]
        except AudioError as error:
            return clip, error
        if len(content) > MAX_BYTES:
            return clip, AudioError(f"{number} ({path}) has {len(content)} bytes, more than {MAX_BYTES}")
        return clip, FileRecording(content, f"{number} ({path})", sample_rate)

    def _read(self, path: str) -> bytes:
        """What a row names in place of its content: a file on disk, or what the Hub has, maybe in an archive."""
        if "://" in path and not self._allow_urls and not path.rpartition("::")[2].startswith("hf://"):
            raise AudioError(f"{path!r} is a URL outside the Hub, which may lead anywhere: allow it with --allow-urls")
        return Place(path).read()

    def locate(self, clip: Clip) -> str:
        return f"{self._dataset.dataset}/{self._dataset.split}/{clip.path}"

    def stamp(self, row: Clip) -> Any:
        return [dataclasses.asdict(self._dataset), row.id]

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """What goes wrong with the dataset as a whole; the run ends, and can go on once that is mended."""
        with needs_extra("corpus"):
            from datasets.exceptions import DatasetsError
        try:
            yield
        except (ImportError, OSError, ValueError, RuntimeError, DatasetsError) as error:
            if isinstance(error, AudioError):
                raise
            reason = error.__cause__ or error  # a DatasetGenerationError says nothing itself
            raise AudioError(
                f"dataset {self._dataset.dataset}, split {self._dataset.split}, cannot be read: {reason}"
            ) from error


def _samples(recording: Recording | AudioError) -> int:
    try:
        return 0 if isinstance(recording, AudioError) else recording.samples
    except AudioError:
        return 0


def _type(feature: Any) -> str | None:
    """The type of a column of a feature of `datasets`, or of a value where there are no features; None to leave out."""
    import datasets

    if isinstance(feature, (datasets.Audio, datasets.Image, datasets.Video)):
        return None
    if not isinstance(feature, (datasets.Value, datasets.ClassLabel)):
        return type_name(feature) or "string"
    return next((name for prefix, name in _TYPES.items() if feature.dtype.startswith(prefix)), "string")
