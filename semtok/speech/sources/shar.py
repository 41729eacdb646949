"""Folders of Lhotse Shar: shards of cuts, each a list of them beside a tar with their audio."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from semtok.audio.recordings import FileRecording
from semtok.errors import AudioError, needs_extra
from semtok.speech.clip import Clip
from semtok.speech.columns import common_types, passed_columns
from semtok.speech.sources.cuts import passed, span
from semtok.speech.sources.places import Place
from semtok.speech.sources.source import Opened, Source
from semtok.support.json import parse_json


class Shar(Source):
    """The shards `cuts.NNNNNN.jsonl.gz` and `recording.NNNNNN.tar` of a folder; a row of the plan is a shard.

    What the supervisions of a cut say, and custom fields, are columns, see `passed`; other fields are left unread.

    Args:
        folder: on disk.

    Raises:
        AudioError: a shard of cuts without one of recordings.
        SemtokError: lhotse is not installed.
    """

    rows_are_clips = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards = {path.name: folder / _recordings(path) for path in shards_of(folder)}
        for name, recordings in self._shards.items():
            if not recordings.is_file():
                raise AudioError(f"{folder / name} has no recordings beside it: expected {recordings.name}")

    def __str__(self) -> str:
        return str(self._folder)

    @cached_property
    def columns(self) -> Mapping[str, str]:
        return common_types(passed_columns(passed(cut)) for name in self._shards for cut in self._cuts(name))

    def rows(self) -> Iterator[Clip]:
        return (Clip(name, name) for name in self._shards)

    def recordings(self, rows: Iterable[Clip], sample_rate: int) -> Iterator[Opened]:
        for row in rows:
            yield from self._read(row, sample_rate)

    def locate(self, clip: Clip) -> str:
        return str(self._folder / clip.path)

    def stamp(self, row: Clip) -> Any:
        return [Place(str(self._folder / row.path)).stamp(), Place(str(self._shards[row.path])).stamp()]

    def _cuts(self, name: str) -> Iterator[Any]:
        with needs_extra("export"):
            from lhotse import CutSet
        try:
            yield from CutSet.from_jsonl_lazy(self._folder / name)
        except (AttributeError, AssertionError, KeyError, TypeError, ValueError, OSError) as error:
            raise AudioError(f"{self._folder / name} is no list of cuts: {error!r}") from error

    def _read(self, row: Clip, sample_rate: int) -> Iterator[Opened]:
        with needs_extra("export"):
            from lhotse import Recording
            from lhotse.shar.readers.tar import iterate_tarfile_pairwise
        try:
            with tarfile.open(self._shards[row.path]) as tar:
                pairs = zip(self._cuts(row.path), iterate_tarfile_pairwise(tar), strict=True)
                for cut, ((content, file), (description, _)) in pairs:
                    recording = (
                        None
                        if description is None
                        else Recording.from_dict(parse_json(description, cut.id, AudioError))
                    )
                    yield _open(cut, recording, content, f"{row.path}/{cut.id}{file.suffix}", sample_rate)
        # lhotse raises RuntimeError for a tar that ends within a pair of files, zip ValueError where one is shorter
        except (AudioError, tarfile.TarError, OSError, EOFError, RuntimeError, ValueError) as error:
            yield row, AudioError(f"{self._folder / row.path} cannot be read to its end: {error}")


def _open(cut: Any, recording: Any, content: bytes, path: str, sample_rate: int) -> Opened:
    clip = Clip(cut.id, path, columns=passed_columns(passed(cut)))
    if recording is None or recording.num_channels != 1:
        return clip, AudioError(f"cut {cut.id} has no recording of one channel")
    return clip, FileRecording(content, path, sample_rate, **span(cut, recording))


def shards_of(folder: Path) -> list[Path]:
    """The lists of cuts of a folder of Shar, in order; none if it is something else."""
    return sorted(folder.glob("cuts.*.jsonl.gz"))


def _recordings(cuts: Path) -> str:
    return f"recording.{cuts.name.split('.')[1]}.tar"
