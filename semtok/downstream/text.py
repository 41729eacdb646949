"""Text <-> numbers of its characters or subwords."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semtok.errors import ConfigError, TextError

# Part of a word's spelling between its letters, and nothing at its ends.
_INSIDE_WORDS = "'\N{MIDDLE DOT}\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Subwords


@dataclass(frozen=True)
class TextConfig:
    """The units of a text: characters, or subwords as the library `tokenizers` saves them (JSON).

    With `upper` a text is read and written in capitals.
    """

    characters: str | None = None
    subwords: str | None = None
    upper: bool = True

    def __post_init__(self) -> None:
        if (self.characters is None) == (self.subwords is None):
            raise ConfigError("the units of a text are given by either characters or subwords")
        if self.characters is not None and len(set(self.characters)) < len(self.characters):
            raise ConfigError(f"characters must hold each once, got {self.characters!r}")


class TextCodec:
    """Text <-> the numbers 1 ... `size` - 1 of its units; 0 is left for the blank of CTC, or for padding."""

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self._subwords: Subwords | None = None
        if config.subwords is not None:
            from tokenizers import Tokenizer as Subwords

            try:
                self._subwords = Subwords.from_str(config.subwords)
            except Exception as error:  # the library raises no other
                raise ConfigError(f"subwords are none that the library tokenizers saved: {error}") from error
            self.size = self._subwords.get_vocab_size() + 1
        else:
            assert config.characters is not None
            self._numbers = {character: number for number, character in enumerate(config.characters, 1)}
            self.size = len(self._numbers) + 1

    @classmethod
    def fit(cls, texts: Iterable[str], *, subwords: int | None = None, upper: bool = True) -> TextCodec:
        """The characters of some texts, or byte-pair encoding with so many `subwords` learnt from them."""
        normalized = [normalize(text, upper=upper) for text in texts]
        if subwords is None:
            return cls(TextConfig(characters="".join(sorted({" "}.union(*normalized))), upper=upper))
        from tokenizers import Tokenizer as Subwords
        from tokenizers import decoders, models, pre_tokenizers, trainers

        learner = Subwords(models.BPE())
        learner.pre_tokenizer = pre_tokenizers.Metaspace()
        learner.decoder = decoders.Metaspace()
        learner.train_from_iterator(normalized, trainers.BpeTrainer(vocab_size=subwords, show_progress=False))
        return cls(TextConfig(subwords=learner.to_str(), upper=upper))

    def normalize(self, text: str) -> str:
        """As `normalize`, in this codec's case."""
        return normalize(text, upper=self.config.upper)

    def encode(self, text: str) -> list[int]:
        """Numbers of the units of a text.

        Raises:
            TextError: the text is empty, or has characters that there are no units for.
        """
        normalized = self.normalize(text)
        if not normalized:
            raise TextError(f"there is no text in {text!r}: expected words")
        if unknown := self.unknown(text):
            digits = " (write numbers as words)" if any(character.isdigit() for character in unknown) else ""
            raise TextError(
                f"the characters {', '.join(map(repr, sorted(unknown)))} of {text!r} are not known{digits}; known are "
                f"{self.characters!r}: spell the text with these, or use a model of its language"
            )
        if self._subwords is not None:
            return [number + 1 for number in self._subwords.encode(normalized).ids]
        return [self._numbers[character] for character in normalized]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of such numbers."""
        if self._subwords is not None:
            return str(self._subwords.decode([number - 1 for number in numbers]))
        assert self.config.characters is not None
        return "".join(self.config.characters[number - 1] for number in numbers)

    @property
    def pieces(self) -> list[str]:
        """The text of each number from 1 on; a subword at the beginning of a word begins with a space."""
        if self._subwords is None:
            return list(self.characters)
        names = self._subwords.get_vocab()
        return [name.replace("▁", " ") for name in sorted(names, key=names.__getitem__)]

    def unknown(self, text: str) -> set[str]:
        """Characters of a text that there are no units for."""
        return set(self.normalize(text)) - set(self.characters) - {" "}

    @property
    def space(self) -> int:
        """The number of the space."""
        return self._numbers[" "]

    @property
    def characters(self) -> str:
        """All that a text can hold."""
        if self._subwords is None:
            assert self.config.characters is not None
            return self.config.characters
        return "".join(sorted(set("".join(self._subwords.get_vocab())) - {"▁"})) + " "


def normalize(text: str, *, upper: bool) -> str:
    """Words with a space between them: punctuation becomes spaces, but for signs that are part of a word's spelling.

    Inside words stay apostrophes, the middle dot of Catalan, and the zero-width joiners of Persian and Indic scripts.
    Other characters that are not seen, such as soft hyphens, are removed. `upper` makes capitals of all letters.
    """
    text = unicodedata.normalize("NFC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    words = (word.strip(_INSIDE_WORDS) for word in "".join(map(_spell, text)).split())
    joined = " ".join(word for word in words if word)
    return joined.upper() if upper else joined


def _spell(character: str) -> str:
    """A character as it is part of a word's spelling, or a space where it ends a word."""
    category = unicodedata.category(character)
    if character in _INSIDE_WORDS or category[0] not in "PSZC":
        return character
    return "" if category == "Cf" and character != "\N{ZERO WIDTH SPACE}" else " "


def edit_distance(reference: Sequence[object], hypothesis: Sequence[object]) -> int:
    """Least number of items to substitute, insert or delete that turns one into the other (Levenshtein, 1966)."""
    distances = list(range(len(hypothesis) + 1))
    for row, expected in enumerate(reference, 1):
        diagonal, distances[0] = distances[0], row
        for column, actual in enumerate(hypothesis, 1):
            substituted = diagonal + (expected != actual)
            diagonal = distances[column]
            distances[column] = min(substituted, diagonal + 1, distances[column - 1] + 1)
    return distances[-1]
