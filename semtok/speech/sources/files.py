"""Clips in files of their own, or segments of files: folders and manifests, on disk or behind a URL."""

from __future__ import annotations

import codecs
import csv
import itertools
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from semtok.audio.files import AUDIO_SUFFIXES, Listing, has_suffix, list_folder
from semtok.audio.recordings import FileRecording
from semtok.errors import AudioError, needs_extra
from semtok.speech.clip import Clip
from semtok.speech.columns import common_types, passed_columns
from semtok.speech.sources.places import Place
from semtok.speech.sources.source import Opened, Source
from semtok.support.json import parse_json
from semtok.support.threads import map_ahead

MANIFESTS = (".csv", ".jsonl", ".parquet")
# Files of a folder that list which of its files are clips.
_IN_FOLDERS = ("manifest.csv", "manifest.jsonl")
# Excel writes semicolons where the locale's decimal point is a comma, and tabs as "Unicode text".
_DELIMITERS = ",;\t"
# Columns that say what a clip is; the others are passed on.
_OWN = ("id", "path", "start", "duration")
_FETCHERS = 8


class FileSource(Source):
    """Rows that name a file each, relative to the folder `root`.

    Args:
        root: on disk or behind a URL.
        allow_urls: whether a row may name a URL that is not below `root`.
    """

    def __init__(self, root: Place, *, allow_urls: bool = False) -> None:
        self._root, self._allow_urls = root, allow_urls

    @cached_property
    def columns(self) -> Mapping[str, str]:
        return common_types(clip.columns for clip in self.rows())

    def rows(self) -> Iterator[Clip]:
        for number, record in enumerate(self.records(), start=1):
            where = f"row {number} of {self}"
            clip = _clip(record, where)
            try:
                self._root.reach(clip.path, allow_urls=self._allow_urls)
            except AudioError as error:
                raise AudioError(f"{where}: {error}") from error
            yield clip

    @abstractmethod
    def records(self) -> Iterable[dict[str, Any]]:
        """What is known of each clip, by column."""

    def recordings(self, rows: Iterable[Clip], sample_rate: int) -> Iterator[Opened]:
        files = ((path, list(segments)) for path, segments in itertools.groupby(rows, lambda row: row.path))
        for file, segments in map_ahead(self._fetch, files, _FETCHERS):
            for clip in segments:
                if isinstance(file, AudioError):
                    yield clip, file
                    continue
                start, duration = (0.0, None) if clip.start is None else (clip.start, clip.duration)
                yield clip, FileRecording(file, clip.path, sample_rate, start=start, duration=duration)

    def _fetch(self, file: tuple[str, list[Clip]]) -> tuple[Path | bytes | AudioError, list[Clip]]:
        """The path of a file on disk, or the content of one behind a URL."""
        path, segments = file
        try:
            place = self._root.reach(path, allow_urls=self._allow_urls)
            if place.path is None:
                return place.read(), segments
            place.refuse_special()
            return place.path, segments
        except AudioError as error:
            return error, segments

    def locate(self, clip: Clip) -> str:
        return str(self._root / clip.path)

    def stamp(self, row: Clip) -> Any:
        return [*(self._root / row.path).stamp(), row.start, row.duration]


class File(FileSource):
    """One recording.

    Args:
        file: on disk or behind a URL.
    """

    def __init__(self, file: Place) -> None:
        super().__init__(file.parent)
        self._file = file

    def records(self) -> Iterator[dict[str, Any]]:
        yield {"path": self._file.base}

    def __str__(self) -> str:
        return str(self._file)


class Folder(FileSource):
    """All audio files below a folder; or the clips of the manifests in it, manifest.csv and manifest.jsonl.

    Args:
        folder: on disk or behind a URL.
        skip: a folder in it that is left out.
    """

    def __init__(self, folder: Place, *, skip: Path | None = None, allow_urls: bool = False) -> None:
        super().__init__(folder, allow_urls=allow_urls)
        self._skip = skip

    @cached_property
    def _listing(self) -> Listing:
        """The audio and the manifests below the folder."""
        if self._root.path is None:
            return Listing([Path(name) for name in self._root.find(AUDIO_SUFFIXES)])
        is_audio = has_suffix(AUDIO_SUFFIXES)
        wanted = list_folder(self._root.path, lambda path: is_audio(path) or _is_manifest(path), skip=self._skip)
        return Listing([Path(self._below(path)) for path in wanted.paths], wanted.left_out)

    @property
    def left_out(self) -> str:
        listing = self._listing
        if any(map(_is_manifest, listing.paths)):
            listed = {record["path"] for record in self.records()}
            others = (path for path in listing.paths if not _is_manifest(path) and path.as_posix() not in listed)
            listing = Listing(listing.paths, listing.left_out | dict.fromkeys(others, "not in a manifest"))
        return listing.describe_left_out()

    def rows(self) -> Iterator[Clip]:
        rows = super().rows()
        first = next(rows, None)
        if first is None:
            raise AudioError(
                f"there is no audio in {self}: expected a folder of {', '.join(AUDIO_SUFFIXES)} files or with a "
                f"{_IN_FOLDERS[0]}, or a manifest ({', '.join(MANIFESTS)}). Left out: {self.left_out or 'nothing'}"
            )
        return itertools.chain([first], rows)

    def records(self) -> Iterator[dict[str, Any]]:
        manifests = [path for path in self._listing.paths if _is_manifest(path)]
        if not manifests:
            yield from ({"path": path.as_posix()} for path in self._listing.paths)
        for manifest in manifests:
            for record in Manifest(self._root / manifest.as_posix()).records():
                name = str(record["path"])
                yield record if "://" in name else {**record, "path": self._below(manifest.parent / name)}

    def _below(self, path: Path) -> str:
        """A path relative to this folder, or absolute if it leads out of the folder."""
        folder = self._root.path
        return (path.relative_to(folder) if folder is not None and path.is_relative_to(folder) else path).as_posix()

    def __str__(self) -> str:
        return str(self._root)


class Manifest(FileSource):
    """A table of clips: .csv, .jsonl or .parquet with a column `path`, relative to where it lies.

    `id` names a clip; `start` and `duration`, in seconds, cut a segment; all other columns are passed through. A .csv
    is separated by commas, semicolons or tabs; it and a .jsonl are in UTF-8, with or without a byte order mark.

    Raises:
        AudioError: no such file, or no manifest.
    """

    def __init__(self, manifest: Place, *, allow_urls: bool = False) -> None:
        super().__init__(manifest.parent, allow_urls=allow_urls)
        self._manifest = manifest

    def __str__(self) -> str:
        return str(self._manifest)

    def records(self) -> Iterator[dict[str, Any]]:
        """What each row says, by column."""
        read = {".csv": self._csv_records, ".jsonl": self._json_records}.get(self._manifest.suffix, _parquet_records)
        try:
            with self._manifest.open() as file:
                for number, record in enumerate(read(file), start=1):
                    if not isinstance(record, Mapping) or not record.get("path"):
                        raise AudioError(
                            f"row {number} of {self} names no audio: each row needs a `path`, got {record!r:.200}"
                        )
                    yield dict(record)
        except UnicodeDecodeError as error:
            raise AudioError(f"{self} is no manifest: it is not in UTF-8 ({error}): save it as UTF-8") from error
        except (TypeError, ValueError, OSError, csv.Error) as error:
            if isinstance(error, AudioError):
                raise
            raise AudioError(f"{self} is no manifest: {error}") from error

    def _csv_records(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        lines = (line.decode() for line in _without_mark(file))
        header = next(lines, "")
        rows = itertools.chain([header], lines)
        delimiter = next(
            (mark for mark in _DELIMITERS if "path" in next(csv.reader([header], delimiter=mark), ())), ","
        )
        for number, record in enumerate(csv.DictReader(rows, delimiter=delimiter), start=1):
            if None in record:
                raise ValueError(f"row {number} has more fields than there are columns")
            if any(record.values()):
                yield record

    def _json_records(self, file: IO[bytes]) -> Iterator[Any]:
        for number, line in enumerate(_without_mark(file), start=1):
            if line.strip():
                yield parse_json(line, f"line {number} of {self}", AudioError)


def _without_mark(file: IO[bytes]) -> Iterator[bytes]:
    """Lines of a file, without the byte order mark that Excel and Notepad put before the first."""
    for number, line in enumerate(file):
        yield line if number else line.removeprefix(codecs.BOM_UTF8)


def _parquet_records(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    with needs_extra("corpus"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=1000):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _clip(record: Mapping[str, Any], where: str) -> Clip:
    path = str(record["path"])
    start, duration = (_seconds(record.get(name), name, where) for name in ("start", "duration"))
    segment = "" if start is None else f"#{_text(start)}" + ("" if duration is None else f"-{_text(start + duration)}")
    name = record.get("id")
    return Clip(
        f"{path}{segment}" if name is None or name == "" else str(name),
        path,
        start,
        duration,
        passed_columns({name: value for name, value in record.items() if name not in _OWN}),
    )


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


def _text(seconds: float) -> str:
    """Seconds to the microsecond: finer than samples, and without what adding two floats leaves over."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _is_manifest(path: Path) -> bool:
    return path.name in _IN_FOLDERS
