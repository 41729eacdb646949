"""Datasets of the Hugging Face Hub, or folders that `datasets` reads, streamed file by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from semtok.audio.recordings import FileRecording
from semtok.errors import AudioError, needs_extra
from semtok.speech.clip import Clip
from semtok.speech.sources.places import Place
from semtok.speech.sources.source import Opened, Source

if TYPE_CHECKING:
    from datasets import IterableDataset

PREFIX = "hub:"
_OPTIONS = {"split": "train", "config": None, "revision": None, "audio": "audio", "id": "id"}
_TYPES = {"int": "int64", "uint": "int64", "float": "double", "bool": "bool"}


class HubDataset(Source):
    """A split of a dataset; a row of the plan is one of its data files.

    Columns of text and numbers are passed through, others as JSON.

    Args:
        name: "owner/name" and options: "owner/name?split=train&config=clean&revision=main&audio=audio&id=id", of which
            the last two are the columns of audio and of ids. Without a column of ids, clips are numbered by file.

    Raises:
        AudioError: a dataset that cannot be loaded, or lacks a column.
    """

    rows_are_clips = False

    def __init__(self, name: str) -> None:
        self._name, _, query = name.partition("?")
        given = dict(parse_qsl(query))
        if unknown := given.keys() - _OPTIONS:
            raise AudioError(f"{name} has unknown options {sorted(unknown)}: there are {sorted(_OPTIONS)}")
        self._options = {**_OPTIONS, **given}
        self._audio, self._id = str(self._options["audio"]), str(self._options["id"])
        with self._clear_errors():
            self._dataset = self._load()
            features = self._dataset.features or next(iter(self._dataset.take(1)))
            self._columns = {
                column: _type(feature) for column, feature in features.items() if column not in (self._audio, self._id)
            }
            if self._audio not in features:
                raise ValueError(f"it has no column {self._audio!r}, `audio` is to name one of {sorted(features)}")
            self._has_ids = self._id in features
            self._dataset = self._dataset.cast_column(self._audio, _undecoded())

    @property
    def columns(self) -> Mapping[str, str]:
        return self._columns

    def _load(self) -> IterableDataset:
        with needs_extra("corpus"):
            import datasets
        options = self._options
        return datasets.load_dataset(
            self._name, options["config"], split=options["split"], revision=options["revision"], streaming=True
        )

    def rows(self) -> Iterator[Clip]:
        for number in range(self._dataset.num_shards):
            name = f"{self._options['split']}-{number:05}"
            yield Clip(name, name)

    def recordings(self, rows: Iterable[Clip], sample_rate: int) -> Iterator[Opened]:
        for file in rows:
            number = int(file.id.rpartition("-")[2])
            with self._clear_errors():
                dataset = self._dataset.shard(num_shards=self._dataset.num_shards, index=number)
                for index, record in enumerate(dataset):
                    yield self._open(record, f"{file.id}-{index:07}", sample_rate)

    def _open(self, record: Mapping[str, Any], number: str, sample_rate: int) -> Opened:
        audio = record[self._audio] or {}
        path = audio.get("path") or number
        clip = Clip(
            str(record[self._id]) if self._has_ids else number,
            path,
            columns={name: record[name] for name in self.columns},
        )
        try:
            content = Place(path).read() if audio.get("bytes") is None else audio["bytes"]
        except AudioError as error:
            return clip, error
        return clip, FileRecording(content, f"{number} ({path})", sample_rate)

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
                f"dataset {self._name}, split {self._options['split']}, cannot be read: {reason}"
            ) from error


def _undecoded() -> Any:
    """`datasets` would need torchcodec to decode."""
    from datasets import Audio

    return Audio(decode=False)


def _type(feature: Any) -> str:
    dtype = str(getattr(feature, "dtype", ""))
    return next((name for prefix, name in _TYPES.items() if dtype.startswith(prefix)), "string")
