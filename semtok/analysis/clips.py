"""The clips of a study: files, the columns of their manifest, and when each phone and word is spoken."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semtok.analysis.alignments import Alignment, match_alignments, parse_alignment, read_alignments
from semtok.analysis.contingency import Integers
from semtok.audio.disturbances import Waveform
from semtok.audio.files import list_audio
from semtok.audio.io import load_audio
from semtok.errors import AudioError, SemtokError

PHONES, WORDS, SPEAKER = "phones", "words", "speaker"

# Excerpts: so many, of so many seconds at most.
_EXCERPTS, _EXCERPT_SECONDS = 16, 6


@dataclass(frozen=True)
class StudyClip:
    """A file of speech and what is known of it.

    Args:
        path: of the file.
        columns: of its row in a manifest; a column that is empty or missing says nothing.
        tiers: its alignments, "phones" and "words", where there are any.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    tiers: Mapping[str, Alignment] = field(default_factory=dict)


def read_clips(audio: str | os.PathLike[str], alignments: str | os.PathLike[str] | None = None) -> list[StudyClip]:
    """The clips of a folder or manifest, as `semtok.audio.files.list_audio` has them.

    Args:
        audio: folder or manifest (.csv or .jsonl). Columns "phones" and "words" are alignments,
            [[name, start, duration], ...] in seconds, as JSON.
        alignments: a file of lines {"path", "phones", "words"}, with paths relative to `audio` or to where it lies.

    Raises:
        AudioError: no audio.
        SemtokError: alignments that cannot be read, or that are of no clip.
    """
    audio = Path(audio)
    entries = list_audio(audio).entries
    paths = {entry.path.resolve(): None for entry in entries}
    from_file = {}
    if alignments is not None:
        folder, file = audio if audio.is_dir() else audio.parent, Path(alignments)
        for tier in (PHONES, WORDS):
            of_tier = read_alignments(file, tier)
            if of_tier or tier == PHONES:
                from_file[tier] = match_alignments(of_tier, paths, folder, file)
    clips = []
    for path, row in entries:
        tiers = {tier: _column(row[tier], path, tier) for tier in (PHONES, WORDS) if row.get(tier)}
        tiers |= {tier: aligned[path.resolve()] for tier, aligned in from_file.items() if path.resolve() in aligned}
        columns = {
            str(name): str(value)
            for name, value in row.items()
            if name not in ("path", PHONES, WORDS) and value not in (None, "")
        }
        clips.append(StudyClip(path, columns, tiers))
    return clips


def _column(value: Any, path: Path, tier: str) -> Alignment:
    try:
        return parse_alignment(json.loads(value) if isinstance(value, str) else value)
    except (ValueError, TypeError) as error:
        raise SemtokError(
            f"the column {tier} of {path} is no alignment ({error!r}): expected [[name, start, duration], ...]"
        ) from error


def read_excerpts(clips: Sequence[StudyClip], numbers: Integers, sample_rate: int) -> list[Waveform]:
    """The beginnings of 16 of the clips of these numbers, spread over all of them: up to 6 s each, [samples].

    Those shorter than half a second are skipped.
    """
    numbers = np.unique(numbers)
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(_EXCERPTS, len(numbers))).astype(int)]
    waveforms = [load_audio(clips[number].path, sample_rate=sample_rate) for number in chosen.tolist()]
    least, most = sample_rate // 2, _EXCERPT_SECONDS * sample_rate
    return [waveform[:most].numpy() for waveform in waveforms if len(waveform) >= least]


def check_columns(clips: list[StudyClip], columns: list[str]) -> None:
    """Raises `AudioError` for a column that no clip has."""
    present = sorted({name for clip in clips for name in clip.columns})
    for column in columns:
        if column not in present:
            raise AudioError(
                f"no clip has a label in the column {column!r}: "
                f"the manifest has {', '.join(present) if present else 'no columns, or there is none'}"
            )
