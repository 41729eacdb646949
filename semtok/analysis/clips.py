"""What a study needs of its clips beside their audio: when each phone and word is spoken, labels, excerpts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from semtok.audio.disturbances import Waveform
from semtok.errors import AudioError, SemtokError
from semtok.evaluation.alignments import Alignment, match_alignments, parse_alignment, read_alignments
from semtok.speech.clip import Clip
from semtok.speech.reading import Speech
from semtok.support.arrays import Integers
from semtok.support.json import parse_json

PHONES, WORDS, SPEAKER = "phones", "words", "speaker"

# Excerpts: so many, of so many seconds at most.
_EXCERPTS, _EXCERPT_SECONDS = 16, 6


Tiers: TypeAlias = Mapping[str, Mapping[int, Alignment]]
"""The alignments of each tier, "phones" and "words", by the number of their clip."""


def read_tiers(
    speech: Speech, audio: str | os.PathLike[str], alignments: str | os.PathLike[str] | None = None
) -> Tiers:
    """The alignments of clips; a tier that no clip has is missing.

    Args:
        speech: its columns "phones" and "words" are alignments, [[name, start, duration], ...] in seconds, as JSON;
            of a segment, from its start.
        audio: the source of `speech`.
        alignments: a file of lines {"path", "phones", "words"}, with paths relative to `audio` or to where it lies; of
            whole recordings.

    Raises:
        SemtokError: alignments that cannot be read, or that are of no clip.
    """
    tiers: dict[str, dict[int, Alignment]] = {tier: {} for tier in (PHONES, WORDS)}
    for number, clip in enumerate(speech.clips):
        for tier, of_tier in tiers.items():
            if clip.label(tier):
                of_tier[number] = _column(clip.columns[tier], clip.path, tier)
    if alignments is not None:
        audio, file = Path(audio), Path(alignments)
        paths = [Path(clip.path).resolve() for clip in speech.clips]
        for tier, of_tier in tiers.items():
            read = read_alignments(file, tier)
            if read or tier == PHONES:
                aligned = match_alignments(read, set(paths), audio if audio.is_dir() else audio.parent, file)
                for number, path in enumerate(paths):
                    if path in aligned:
                        clip = speech.clips[number]
                        whole = aligned[path]
                        of_tier[number] = whole if clip.start is None else whole.segment(clip.start, clip.duration)
    return {tier: of_tier for tier, of_tier in tiers.items() if of_tier}


def _column(value: Any, path: str, tier: str) -> Alignment:
    try:
        return parse_alignment(parse_json(value, "the text", SemtokError) if isinstance(value, str) else value)
    except (SemtokError, ValueError, TypeError) as error:
        raise SemtokError(
            f"the column {tier} of {path} is no alignment ({error!r}): expected [[name, start, duration], ...]"
        ) from error


def read_excerpts(speech: Speech, numbers: Integers, sample_rate: int) -> list[Waveform]:
    """The beginnings of 16 of the clips of these numbers, spread over all of them: up to 6 s each, [samples].

    Those shorter than half a second are skipped.
    """
    numbers = np.unique(numbers)
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(_EXCERPTS, len(numbers))).astype(int)]
    waveforms = [waveform for _, waveform in speech.read(sample_rate, chosen.tolist())]
    least, most = sample_rate // 2, _EXCERPT_SECONDS * sample_rate
    excerpts = []
    for waveform in waveforms:
        if isinstance(waveform, AudioError):
            raise waveform
        if len(waveform) >= least:
            excerpts.append(waveform[:most].numpy())
    return excerpts


def check_columns(clips: Sequence[Clip], columns: Sequence[str]) -> None:
    """Raises `AudioError` for a column that no clip has a label in."""
    labelled = {name for clip in clips for name in clip.columns if clip.label(name)} - {PHONES, WORDS}
    for column in columns:
        if column not in labelled:
            raise AudioError(
                f"no clip has a label in the column {column!r}: "
                f"the manifest has {', '.join(sorted(labelled)) if labelled else 'no columns, or there is none'}"
            )
