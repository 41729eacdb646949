"""Who judges speech beside the metrics of signals: a recognizer and a speaker model, or how to get them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from semtok.errors import CheckpointError
from semtok.evaluation.metrics import check_extra
from semtok.evaluation.models import is_hub_id
from semtok.evaluation.recognizers import Recognizer, load_recognizer
from semtok.evaluation.speakers import RESEMBLYZER, SpeakerModel, load_speaker_model
from semtok.evaluation.utmos import Utmos, load_utmos

RECOGNIZER = "openai/whisper-base"
SPEAKER_MODEL = "microsoft/wavlm-base-plus-sv"
_Judge = TypeVar("_Judge")


@dataclass(frozen=True)
class Judges:
    """A metric whose judge is None is left out; `missing` says in a line each how to get those."""

    recognizer: Recognizer | None = None
    speaker_model: SpeakerModel | None = None
    utmos: Utmos | None = None
    missing: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """Those that are there, with their revisions."""
        judges = {"recognizer": self.recognizer, "speaker model": self.speaker_model, "UTMOS": self.utmos}
        return {role: judge.name for role, judge in judges.items() if judge is not None}


def load_judges(
    recognizer: str = RECOGNIZER,
    speaker_model: str | None = None,
    *,
    utmos: str | os.PathLike[str] | None = None,
    language: str = "en",
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    local_files_only: bool = False,
) -> Judges:
    """Loads them; one that the hub does not give is missing, one in a folder has to be whole.

    Args:
        recognizer: of `load_recognizer`, as `language` and `dtype`.
        speaker_model: of `load_speaker_model`; by default microsoft/wavlm-base-plus-sv, without the hub resemblyzer.
        utmos: file of `load_utmos`; none by default, which leaves this metric out.
        device: where they run.
        local_files_only: never ask the hub.

    Raises:
        CheckpointError: a folder that lacks files, or holds something else; a file that is not of UTMOS.
        SemtokError: a language that the recognizer does not know; the extra `eval` is not installed.
    """
    check_extra()
    missing: list[str] = []

    def load(name: str, judge: Callable[[], _Judge], lost: str) -> _Judge | None:
        try:
            return judge()
        except CheckpointError as error:
            if not is_hub_id(name):
                raise
            missing.append(f"{lost}: {error}")
            return None

    listener = load(
        recognizer,
        lambda: load_recognizer(
            recognizer, language=language, device=device, dtype=dtype, local_files_only=local_files_only
        ),
        "No WER and dWER (--recognizer also takes a folder)",
    )
    name = speaker_model or SPEAKER_MODEL
    voice = load(
        name,
        lambda: load_speaker_model(name, device=device, local_files_only=local_files_only),
        "No speaker similarity (--speaker-model also takes a folder, or resemblyzer)"
        if speaker_model
        else f"Speaker similarity by {RESEMBLYZER} (--speaker-model also takes a folder)",
    )
    if voice is None and speaker_model is None:
        voice = load_speaker_model(RESEMBLYZER)
    rating = None if utmos is None else load_utmos(utmos, device=device)
    return Judges(listener, voice, rating, tuple(missing))
