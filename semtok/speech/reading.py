"""`Speech`: the clips of one or more sources, listed or streamed, and their waveforms, read by threads."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from semtok.audio.recordings import Recording
from semtok.errors import AudioError
from semtok.speech.clip import Clip
from semtok.speech.sources import Dataset, Opened, Source, open_source
from semtok.support.threads import map_ahead

logger = logging.getLogger(__name__)

_READERS = 8
# Of recordings that are opened for what their source knows of them, and not for their audio.
_ANY_RATE = 16000

Data: TypeAlias = str | Path | Dataset
"""Name of a source, as `open_source` takes it, or a dataset of the Hub."""

Numbered: TypeAlias = tuple[int, Clip, Recording | AudioError]
"""The number of a clip in `Speech.clips`, the clip, and its audio or the reason why there is none."""


class Speech:
    """Clips of several sources, one source after the other.

    The `path` of a clip is where its audio is, seen from the working folder; of a clip in an archive, the path of the
    archive and the name of the clip in it. With more than one source, ids begin with the name of their source.

    Args:
        data: the sources.
        leave_out_splits: clips whose column `split` is one of these are no part of it. The clips of a dataset of the
            Hub have the dataset's split there, unless the dataset has a column `split` itself.

    Raises:
        AudioError: a source that is missing, cannot be read, or has no clips.
    """

    def __init__(self, data: Sequence[Data], *, leave_out_splits: Sequence[str] = ()) -> None:
        self._names = [str(entry.dataset if isinstance(entry, Dataset) else entry) for entry in data]
        self._leave_out = frozenset(leave_out_splits)
        self._rows: list[tuple[int, Clip]] = []
        self._sources: list[Source] = []
        for number, entry in enumerate(data):
            source = open_source(entry)
            rows = list(source.rows())
            if not rows:
                raise AudioError(f"there is no audio in {entry}: expected at least one clip")
            if source.left_out:
                logger.warning("left out of %s: %s", entry, source.left_out)
            self._sources.append(source)
            self._rows += [(number, row) for row in rows if not source.rows_are_clips or self._is_wanted(number, row)]

    @property
    def is_listed(self) -> bool:
        """Whether the clips are known without reading their audio: no source is one of archives."""
        return all(source.rows_are_clips for source in self._sources)

    @cached_property
    def clips(self) -> list[Clip]:
        """All clips, in order. Archives are read to their end for it."""
        if self.is_listed:
            return [self._named(number, row) for number, row in self._rows]
        return [clip for clip, _ in self._open(self._rows, _ANY_RATE)]

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def paths(self) -> list[str]:
        """Where the audio of each listed clip, and each archive, is."""
        return [self._sources[number].locate(row) for number, row in self._rows]

    def parts(self, clips: int) -> list[Speech]:
        """This speech in pieces: so many listed clips each, or an archive."""
        rows = iter(self._rows)
        size = clips if self.is_listed else 1
        return [self._part(part) for part in iter(lambda: list(islice(rows, size)), [])]

    @cached_property
    def stamps(self) -> list[Any]:
        """What says, for each clip or archive, where its audio is and whether that was replaced, as JSON."""
        return [self._sources[number].stamp(row) for number, row in self._rows]

    def recordings(self, sample_rate: int, numbers: Sequence[int] | None = None) -> Iterator[Numbered]:
        """Clips with their recordings, opened as they are asked for.

        Args:
            sample_rate: of the recordings, Hz.
            numbers: of the clips that are wanted, all by default. Clips of archives come in the order of their source,
                others in the order of `numbers`.

        Raises:
            AudioError: a source that fails as a whole.
        """
        if numbers is not None and self.is_listed:
            opened = self._open([self._rows[number] for number in numbers], sample_rate)
            yield from ((number, clip, recording) for number, (clip, recording) in zip(numbers, opened, strict=True))
            return
        wanted = None if numbers is None else set(numbers)
        for number, (clip, recording) in enumerate(self._open(self._rows, sample_rate)):
            if wanted is None or number in wanted:
                yield number, clip, recording

    def read(
        self, sample_rate: int, numbers: Sequence[int] | None = None
    ) -> Iterator[tuple[Clip, Tensor | AudioError]]:
        """Each clip and its waveform, float32 [samples], or why it cannot be read; arguments as of `recordings`.

        Threads decode a bounded number of recordings ahead of the caller.
        """
        return map_ahead(_load, self.recordings(sample_rate, numbers), _READERS)

    def _open(self, rows: Iterable[tuple[int, Clip]], sample_rate: int) -> Iterator[Opened]:
        for number, of_source in groupby(rows, itemgetter(0)):
            source = self._sources[number]
            for clip, recording in source.recordings((row for _, row in of_source), sample_rate):
                if source.rows_are_clips or self._is_wanted(number, clip):
                    yield self._named(number, clip), recording

    def _is_wanted(self, number: int, clip: Clip) -> bool:
        return clip.columns.get("split", self._sources[number].split) not in self._leave_out

    def _named(self, number: int, clip: Clip) -> Clip:
        source = self._sources[number]
        return dataclasses.replace(
            clip,
            id=clip.id if len(self._sources) == 1 else f"{self._names[number]}/{clip.id}",
            path=source.locate(clip),
            columns=clip.columns if source.split is None else {"split": source.split, **clip.columns},
        )

    def _part(self, rows: list[tuple[int, Clip]]) -> Speech:
        part = object.__new__(Speech)
        part._names, part._leave_out, part._sources, part._rows = self._names, self._leave_out, self._sources, rows
        return part


def _load(opened: Numbered) -> tuple[Clip, Tensor | AudioError]:
    _, clip, recording = opened
    if isinstance(recording, AudioError):
        return clip, recording
    try:
        return clip, recording.load()
    except AudioError as error:
        return clip, error
