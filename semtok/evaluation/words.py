"""Word error rate: what a speech recogniser still understands, against the text that was read."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import numpy as np

from semtok.evaluation.metrics import SAMPLE_RATE, Waveform

if TYPE_CHECKING:
    from pocketsphinx import Decoder

_MAX_UNKNOWN = 0.25


def split_words(text: str) -> list[str]:
    """The words of a text in upper case, without punctuation except apostrophes inside words; digits stay digits."""
    return re.findall(r"\w+(?:'\w+)*", text.upper().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Least number of words to substitute, insert or delete that turns one into the other (Levenshtein, 1966)."""
    distances = list(range(len(hypothesis) + 1))
    for row, expected in enumerate(reference, 1):
        diagonal, distances[0] = distances[0], row
        for column, heard in enumerate(hypothesis, 1):
            substituted = diagonal + (expected != heard)
            diagonal = distances[column]
            distances[column] = min(substituted, diagonal + 1, distances[column - 1] + 1)
    return distances[-1]


def is_recognisable(text: str) -> bool:
    """Whether the English recogniser could write this text: at most a quarter of its words are not in its dictionary.

    Keeps text in other languages, of which every word would be an error, out of the word error rate.
    """
    words = split_words(text)
    unknown = sum(_recogniser().lookup_word(word.lower()) is None for word in words)
    return bool(words) and unknown <= _MAX_UNKNOWN * len(words)


def transcribe(waveform: Waveform) -> list[str]:
    """Words that pocketsphinx hears in float32 [samples] at 16 kHz, with the US English model it comes with.

    An n-gram recogniser with some 50 % errors on read speech even before tokens: compare its figures only with each
    other.
    """
    recogniser = _recogniser()
    # else the noise estimate of the clips before would change what is heard
    recogniser.reinit_feat()
    recogniser.start_utt()
    pcm = (waveform.clip(-1, 1) * 32767).astype(np.int16)
    recogniser.process_raw(pcm.tobytes(), full_utt=True)
    recogniser.end_utt()
    hypothesis = recogniser.hyp()
    return split_words(hypothesis.hypstr) if hypothesis else []


@functools.cache
def _recogniser() -> Decoder:
    from pocketsphinx import Decoder

    return Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
