"""Clips in files of their own, or segments of files: folders and manifests, on disk or behind a URL."""

from __future__ import annotations

import csv
import itertools
import json
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from semtok.audio.files import AUDIO_SUFFIXES, Entry, Listing, list_audio
from semtok.audio.recordings import FileRecording
from semtok.errors import AudioError, needs_extra
from semtok.speech.clip import Clip
from semtok.speech.columns import RESERVED, common_types
from semtok.speech.sources.places import Place
from semtok.speech.sources.source import Opened, Source

MANIFESTS = (".csv", ".jsonl", ".parquet")
# Files behind a URL that are fetched at a time.
_FETCHERS = 16


class FileSource(Source):
    """Rows that name a file each, relative to the folder `root`."""

    def __init__(self, root: Place) -> None:
        self._root = root

    @cached_property
    def columns(self) -> Mapping[str, str]:
        return common_types(map(_passed, self._records()))

    def rows(self) -> Iterator[Clip]:
        for number, record in enumerate(self._records(), start=1):
            yield _row(record, f"row {number} of {self}")

    @abstractmethod
    def _records(self) -> Iterable[dict[str, Any]]:
        """What is known of each clip, by column."""

    def recordings(self, rows: Iterable[Clip], sample_rate: int) -> Iterator[Opened]:
        for path, segments in _read_ahead(itertools.groupby(rows, lambda row: row.path), self._root):
            for clip in segments:
                if isinstance(path, AudioError):
                    yield clip, path
                    continue
                start, duration = (0.0, None) if clip.start is None else (clip.start, clip.duration)
                yield clip, FileRecording(path, clip.path, sample_rate, start=start, duration=duration)


class Folder(FileSource):
    """All audio files below a folder, or those that the manifests in it list.

    Args:
        folder: on disk or behind a URL.
        skip: a folder in it that is left out.
    """

    def __init__(self, folder: Place, *, skip: Path | None = None) -> None:
        super().__init__(folder)
        self._skip = skip

    @cached_property
    def _listing(self) -> Listing:
        if self._root.path is None:
            return Listing([Entry(Path(name)) for name in self._root.find(AUDIO_SUFFIXES)])
        return list_audio(self._root.path, skip=self._skip)

    @property
    def left_out(self) -> str:
        return self._listing.describe_left_out()

    def _records(self) -> Iterator[dict[str, Any]]:
        for path, columns in self._listing.entries:
            yield {**columns, "path": path.as_posix() if self._root.path is None else _below(path, self._root.path)}

    def __str__(self) -> str:
        return str(self._root)


class Manifest(FileSource):
    """A table of clips: .csv, .jsonl or .parquet with a column `path`, relative to where it lies.

    `id` names a clip; `start` and `duration`, in seconds, cut a segment; all other columns are passed through.

    Raises:
        AudioError: no such file, or no manifest.
    """

    def __init__(self, manifest: Place) -> None:
        super().__init__(manifest.parent)
        self._manifest = manifest

    def __str__(self) -> str:
        return str(self._manifest)

    def _records(self) -> Iterator[dict[str, Any]]:
        try:
            with self._manifest.open() as file:
                if self._manifest.suffix == ".csv":
                    yield from _csv_records(line.decode() for line in file)
                elif self._manifest.suffix == ".jsonl":
                    yield from (json.loads(line) for line in file if line.strip())
                else:
                    yield from _parquet_records(file)
        except (TypeError, ValueError, csv.Error) as error:
            if isinstance(error, AudioError):
                raise
            raise AudioError(f"{self._manifest} is no manifest: {error}") from error


def _csv_records(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(csv.DictReader(lines), start=1):
        if None in record:
            raise ValueError(f"row {number} has more fields than there are columns")
        yield record


def _parquet_records(file: Any) -> Iterator[dict[str, Any]]:
    with needs_extra("corpus"):
        import pyarrow.parquet as pq
    for batch in pq.ParquetFile(file).iter_batches(batch_size=1000):
        yield from batch.to_pylist()


def _row(record: Mapping[str, Any], where: str) -> Clip:
    if not isinstance(record, Mapping) or not (path := record.get("path")):
        raise AudioError(f"{where} names no audio: each row needs a `path`, got {record!r}")
    start, duration = (_seconds(record.get(name), name, where) for name in ("start", "duration"))
    name = str(path) if start is None else f"{path}#{start:g}" + ("" if duration is None else f"-{start + duration:g}")
    return Clip(str(record.get("id") or name), str(path), start, duration, _passed(record))


def _seconds(value: Any, name: str, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise AudioError(f"{name} of {where} must be in seconds, got {value!r}")
    return seconds


def _passed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in RESERVED[:4]}


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _read_ahead(
    files: Iterable[tuple[str, Iterable[Clip]]], root: Place
) -> Iterator[tuple[Path | bytes | AudioError, list[Clip]]]:
    """Paths on disk as they are; what is behind a URL, by threads, as bytes."""

    def fetch(file: tuple[Place, list[Clip]]) -> tuple[Path | bytes | AudioError, list[Clip]]:
        place, rows = file
        if place.path is not None:
            return place.path, rows
        try:
            return place.read(), rows
        except AudioError as error:
            return error, rows

    waiting = ((root / path, list(rows)) for path, rows in files)
    with ThreadPoolExecutor(_FETCHERS) as pool:
        while ahead := list(itertools.islice(waiting, _FETCHERS)):
            remote = any(place.path is None for place, _ in ahead)
            yield from pool.map(fetch, ahead) if remote else map(fetch, ahead)
