"""Words at known times: read from a file, and put into another order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semtok.errors import TextError, TokensError
from semtok.support.json import read_json_lines
from semtok.tokens import Tokens


@dataclass(frozen=True)
class Word:
    """A word of an utterance, from `start` on and for `duration` seconds."""

    text: str
    start: float
    duration: float

    @property
    def end(self) -> float:
        return self.start + self.duration


def read_words(path: str | os.PathLike[str]) -> dict[str, list[Word]]:
    """The words of recordings by their path without suffix, from JSON lines {"path": ..., "words": [[text, start,
    duration], ...]} in seconds.

    Raises:
        TextError: no such file, or a line that says something else.
    """
    if not Path(path).is_file():
        raise TextError(f"there is no file of words {path} (looked from {Path.cwd()})")
    entries = read_json_lines(Path(path), TextError)
    return dict(_parse(entry, f"line {number} of {path}") for number, entry in entries)


def _parse(entry: Mapping[str, Any], where: str) -> tuple[str, list[Word]]:
    try:
        words = [Word(str(text), float(start), float(duration)) for text, start, duration in entry["words"]]
        return str(Path(entry["path"]).with_suffix("")), words
    except (KeyError, TypeError, ValueError) as error:
        raise TextError(
            f'{where} must be {{"path": ..., "words": [[text, start, duration], ...]}}: {error!r}'
        ) from error


def check_words(tokens: Tokens, words: Sequence[Word]) -> None:
    """Raises `TokensError` for several utterances, `TextError` for words that overlap or lie past the utterance's end.

    Aligners round their times, and the last frame may end before the last sample, so some slack is allowed.
    """
    if len(tokens) != 1:
        raise TokensError(f"expected the tokens of one utterance, got {len(tokens)}")
    end, duration = 0.0, float(tokens.durations[0])
    for number, word in enumerate(words):
        if word.duration < 0 or word.start < end - 0.05 or word.end > duration + 0.1:
            raise TextError(
                f"word {number}, {word.text!r}, is at {word.start:.2f} ... {word.end:.2f} s, after a word that ends at "
                f"{end:.2f} s, in an utterance of {duration:.2f} s: words must follow one another"
            )
        end = word.end


def shuffle_words(tokens: Tokens, words: Sequence[Word], generator: np.random.Generator) -> tuple[Tokens, np.ndarray]:
    """An utterance with its words in another order, drawn at random; pauses stay between them.

    Args:
        tokens: of one utterance.
        words: at least two, in order, with their times.

    Returns:
        Tokens of the same frames in another order, and where each frame was before, int64 [frames].

    Raises:
        TokensError, TextError: as `check_words`; fewer than two words.
    """
    check_words(tokens, words)
    if len(words) < 2:
        raise TextError(f"one needs two words to put them into another order, got {len(words)}")
    frames = int(tokens.lengths[0])
    borders = [round(time * tokens.frame_rate) for word in words for time in (word.start, word.end)]
    # Pauses are the even pieces, words the odd ones.
    pieces = np.split(np.arange(frames), np.maximum.accumulate(np.clip(borders, 0, frames)))
    order = np.arange(len(words))
    while (order == np.arange(len(words))).all():
        order = generator.permutation(len(words))
    pieces[1::2] = [pieces[1::2][word] for word in order]
    before = np.concatenate(pieces)
    codes = tokens.codes[0][:, torch.from_numpy(before).to(tokens.codes.device)]
    shuffled = Tokens.of([codes], tokens.codebooks, tokens.frame_rate, tokens.fingerprint)
    return shuffled, before
