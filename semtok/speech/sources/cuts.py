"""Cuts of Lhotse, each a segment of a recording in a file, or of what Lhotse makes of that recording."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from semtok.audio.recordings import Recording, open_recordings, resampled_length
from semtok.errors import AudioError, needs_extra
from semtok.speech.clip import Clip
from semtok.speech.columns import passed_columns
from semtok.speech.sources.files import FileSource
from semtok.speech.sources.places import Place
from semtok.speech.sources.source import Opened
from semtok.support.json import parse_json

SUFFIXES = (".jsonl.gz",)
_SUPERVISION = ("text", "speaker", "language", "gender")


class Cuts(FileSource):
    """A manifest of cuts, .jsonl.gz; paths are as the recordings have them, relative to the working directory.

    What the supervisions of a cut say, and custom fields, are columns, see `passed`. A recording that was changed, such
    as by `perturb_speed`, is loaded by Lhotse; the path of its clips is the manifest and the id of the cut.

    Raises:
        AudioError: no such file.
        SemtokError: lhotse is not installed.
    """

    def __init__(self, manifest: Path) -> None:
        super().__init__(Place("."))
        if not manifest.is_file():
            raise AudioError(f"there is no manifest {manifest} (looked from {Path.cwd()})")
        self._manifest = manifest

    def __str__(self) -> str:
        return str(self._manifest)

    def records(self) -> Iterator[dict[str, Any]]:
        for cut in self._cuts():
            yield {**passed_columns(passed(cut)), "id": cut.id, **self._place(cut)}

    def recordings(self, rows: Iterable[Clip], sample_rate: int) -> Iterator[Opened]:
        for is_changed, group in groupby(rows, lambda row: row.path.startswith(self._prefix)):
            if not is_changed:
                yield from super().recordings(group, sample_rate)
                continue
            for clip in group:
                cut = self._changed.get(clip.path)
                missing = AudioError(f"{self._manifest} has no cut {clip.path.removeprefix(self._prefix)!r} any more")
                yield clip, missing if cut is None else _ChangedRecording(cut, clip.path, sample_rate)

    def locate(self, clip: Clip) -> str:
        return str(self._manifest.parent / clip.path) if clip.path.startswith(self._prefix) else super().locate(clip)

    def stamp(self, row: Clip) -> Any:
        changed = self._changed.get(row.path) if row.path.startswith(self._prefix) else None
        if changed is None:
            return super().stamp(row)
        return [*Place(changed.recording.sources[0].source).stamp(), changed.recording.to_dict(), changed.start]

    @property
    def _prefix(self) -> str:
        return f"{self._manifest.name}#"

    @cached_property
    def _changed(self) -> dict[str, Any]:
        """The cuts of changed recordings, by path."""
        return {f"{self._prefix}{cut.id}": cut for cut in self._cuts() if cut.recording.transforms}

    def _place(self, cut: Any) -> dict[str, Any]:
        """Where the audio of a cut is: path, start and duration."""
        recording = cut.recording
        if recording.transforms:
            return {"path": f"{self._prefix}{cut.id}"}
        return {"path": recording.sources[0].source, **span(cut, recording)}

    def _cuts(self) -> Iterator[Any]:
        with needs_extra("export"):
            from lhotse.serialization import deserialize_item
        try:
            with gzip.open(self._manifest) as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        where = f"line {number} of {self._manifest}"
                        yield _checked(deserialize_item(parse_json(line, where, AudioError)), where)
        except AudioError:
            raise
        except (
            AttributeError,
            AssertionError,
            EOFError,
            LookupError,
            OSError,
            TypeError,
            ValueError,
            zlib.error,
        ) as error:
            raise AudioError(f"{self._manifest} is no manifest of cuts: {error!r}") from error


def _checked(cut: Any, where: str) -> Any:
    recording = getattr(cut, "recording", None)
    if recording is None or recording.num_channels != 1 or len(recording.sources) != 1:
        raise AudioError(
            f"cut {cut.id} of {where} is no part of one mono recording in one file: cut or mix it with lhotse first"
        )
    # Lhotse runs sources of type "command" in a shell.
    if others := set(_source_types(recording.to_dict())) - {"file"}:
        raise AudioError(f"cut {cut.id} of {where} has audio of type {sorted(others)}: only files are read")
    return cut


def _source_types(value: Any) -> Iterator[str]:
    """The types of all sources of audio in a description of a recording and of what is done to it."""
    if isinstance(value, dict):
        yield from (str(source.get("type")) for source in value.get("sources", ()))
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _source_types(part)


class _ChangedRecording(Recording):
    """What a cut has of a recording that Lhotse changes when it loads it."""

    def __init__(self, cut: Any, name: str, sample_rate: int) -> None:
        self.name, self._cut, self._sample_rate = name, cut, sample_rate

    @property
    def samples(self) -> int:
        return resampled_length(self._cut.num_samples, self._cut.sampling_rate, self._sample_rate)

    def load(self) -> Tensor:
        return self._loaded().load()

    def blocks(self, seconds: float) -> Iterator[Tensor]:
        return self._loaded().blocks(seconds)

    def _loaded(self) -> Recording:
        Place(self._cut.recording.sources[0].source).refuse_special()
        try:
            waveform = self._cut.load_audio()[0]
        except Exception as error:  # lhotse raises errors of all its readers and transforms
            raise AudioError(f"lhotse cannot load the cut {self.name}: {error}") from error
        rate = int(self._cut.sampling_rate)
        (recording,) = open_recordings([waveform], sample_rate=rate, target_sample_rate=self._sample_rate)
        return recording


def passed(cut: Any) -> dict[str, Any]:
    """The columns of a cut: what its supervisions say, and custom fields of texts, numbers, lists and objects.

    The texts of several supervisions are joined by spaces, in the order of their starts; a speaker, language or gender
    is a column if all agree. What each of several says is in the column `supervisions`. Custom fields of a cut stand
    for what no supervision says.
    """
    supervisions = sorted(cut.supervisions, key=lambda supervision: float(supervision.start))
    columns: dict[str, Any] = {**dict.fromkeys(_SUPERVISION), **_plain_fields(cut.custom)}
    for name in _SUPERVISION:
        values = [value for supervision in supervisions if (value := getattr(supervision, name)) is not None]
        if name == "text" and values:
            columns[name] = " ".join(values)
        elif len(set(values)) == 1:
            columns[name] = values[0]
    if len(supervisions) == 1:
        return {**_plain_fields(supervisions[0].custom), **columns}
    if supervisions:
        columns["supervisions"] = [
            {"start": each.start, "duration": each.duration}
            | {name: getattr(each, name) for name in _SUPERVISION if getattr(each, name) is not None}
            | _plain_fields(each.custom)
            for each in supervisions
        ]
    return columns


def _plain_fields(custom: dict[str, Any] | None) -> dict[str, Any]:
    """Custom fields without arrays and recordings."""
    return {name: value for name, value in (custom or {}).items() if isinstance(value, (str, int, float, list, dict))}


def span(cut: Any, recording: Any) -> dict[str, Any]:
    """Where a cut lies in its recording, in seconds: `start` and `duration`, or nothing if it is all of it."""
    whole = cut.start == 0 and abs(cut.duration - recording.duration) < 1 / recording.sampling_rate
    return {} if whole else {"start": cut.start, "duration": cut.duration}
