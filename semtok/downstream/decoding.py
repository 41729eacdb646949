"""What a language model makes of a text while it is searched for, label by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semtok.downstream.arpa import BEGIN, END, SPACE, BackoffModel, Gram
from semtok.errors import ConfigError, TextError, check_sizes


@dataclass(frozen=True)
class DecodingConfig:
    """How texts are searched for: log P(text | speech) + `weight` x log P(text) + `bonus` x units is to be highest.

    Args:
        beam: prefixes that are followed.
        weight: of the language model.
        bonus: for each unit of the language model, word or character, as longer texts are less likely.
    """

    beam: int = 8
    weight: float = 0.5
    bonus: float = 0.0

    def __post_init__(self) -> None:
        check_sizes(self, "beam")
        if not 0 <= self.weight <= 10 or not -20 <= self.bonus <= 20:
            raise ConfigError(
                f"weight must lie in 0 ... 10 and bonus in -20 ... 20, got {self.weight} and {self.bonus}"
            )


@dataclass(frozen=True)
class Progress:
    """How far a language model has read: units before, letters of a word that is not at its end, and the score."""

    context: Gram
    word: str
    score: float


class TextScorer:
    """Scores prefixes of labels by a language model (shallow fusion; Hannun et al., 2014).

    Args:
        model: over characters or words.
        pieces: the text of each label from 1 on.
        config: the weights.

    Raises:
        TextError: none of the model's units can be written by these pieces.
    """

    def __init__(self, model: BackoffModel, pieces: Sequence[str], config: DecodingConfig) -> None:
        self._model, self._pieces, self._config = model, pieces, config
        letters = set("".join(pieces)) - {" "}
        if not any(set(unit) <= letters for unit in model.units):
            raise TextError(
                f"the language model knows {', '.join(sorted(model.units)[:8])} ..., none of which can be written with "
                f"{''.join(sorted(letters))}: make it of texts in the same letters, capitals or not"
            )

    start = Progress((BEGIN,), "", 0.0)

    def follow(self, progress: Progress, label: int) -> Progress:
        """After one label more."""
        for letter in self._pieces[label - 1]:
            if self._model.of_characters:
                progress = self._read(progress, SPACE if letter == " " else letter)
            elif letter != " ":
                progress = Progress(progress.context, progress.word + letter, progress.score)
            else:
                progress = self._end_word(progress)
        return progress

    def end(self, progress: Progress) -> float:
        """The score of a whole text."""
        progress = self._end_word(progress)
        return progress.score + self._config.weight * self._model.score(progress.context, END)

    def _end_word(self, progress: Progress) -> Progress:
        return self._read(progress, progress.word) if progress.word else progress

    def _read(self, progress: Progress, unit: str) -> Progress:
        score = self._config.weight * self._model.score(progress.context, unit) + self._config.bonus
        context = (*progress.context, unit)[-max(1, self._model.order - 1) :]
        return Progress(context, "", progress.score + score)
