"""Cuts of Lhotse, each a segment of a recording in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semtok.errors import AudioError, needs_extra
from semtok.speech.sources.files import FileSource
from semtok.speech.sources.places import Place

SUFFIXES = (".jsonl.gz",)
_SUPERVISION = ("text", "speaker", "language", "gender")


class Cuts(FileSource):
    """A manifest of cuts, .jsonl.gz; paths are as the recordings have them, relative to the working directory.

    What the supervision of a cut says, and its custom fields of text and numbers, are columns.

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

    def _records(self) -> Iterator[dict[str, Any]]:
        with needs_extra("export"):
            from lhotse import CutSet
        try:
            for cut in CutSet.from_file(self._manifest):
                yield _record(cut)
        except (AttributeError, AssertionError, KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, AudioError):
                raise
            raise AudioError(f"{self._manifest} is no manifest of cuts: {error!r}") from error


def _record(cut: Any) -> dict[str, Any]:
    recording = getattr(cut, "recording", None)
    if recording is None or [source.type for source in recording.sources] != ["file"] or recording.num_channels != 1:
        raise AudioError(f"cut {cut.id} is no part of one mono recording in one file: cut or mix it with lhotse first")
    return {**passed(cut), "id": cut.id, "path": recording.sources[0].source, **span(cut, recording)}


def passed(cut: Any) -> dict[str, Any]:
    """The columns of a cut: its custom fields of text and numbers, and what its supervision says if it has one."""
    (supervision,) = cut.supervisions if len(cut.supervisions) == 1 else (None,)
    custom = {name: value for name, value in (cut.custom or {}).items() if isinstance(value, (str, int, float))}
    return {**custom, **{name: getattr(supervision, name, None) for name in _SUPERVISION}}


def span(cut: Any, recording: Any) -> dict[str, Any]:
    """Where a cut lies in its recording, in seconds: `start` and `duration`, or nothing if it is all of it."""
    whole = cut.start == 0 and abs(cut.duration - recording.duration) < 1 / recording.sampling_rate
    return {} if whole else {"start": cut.start, "duration": cut.duration}
