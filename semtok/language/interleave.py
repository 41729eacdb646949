"""Speech and its text in one sequence, changing from one to the other between words (SpiritLM, Nguyen et al., 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from semtok.errors import ConfigError, TextError
from semtok.language.layouts import END, FOREIGN
from semtok.language.vocabulary import UnitVocabulary
from semtok.language.words import Word, check_words
from semtok.tokens import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def interleave(
    tokens: Tokens,
    words: Sequence[Word],
    spoken: Sequence[bool],
    vocabulary: UnitVocabulary,
    hf_tokenizer: PreTrainedTokenizerBase,
) -> Tensor:
    """One sequence of an utterance, in which each word is either speech or text.

    Successive words of one kind make a span. A span of speech has begin and end around it, and the pauses beside it;
    the words of a span of text are joined by spaces. All words spoken give the whole utterance.

    Args:
        tokens: of one utterance.
        words: in order, with their times.
        spoken: of each word, whether it is speech; `draw_spans` draws them.
        vocabulary: as `UnitVocabulary.extend` gives it for `hf_tokenizer`, in the layout `flattened`.
        hf_tokenizer: transformers' tokenizer of the text.

    Returns:
        int64 [length].

    Raises:
        TokensError, LayerError: several utterances, or as `UnitVocabulary.to_ids`.
        TextError: no words, words that overlap or lie past the end, or not one `spoken` for each.
    """
    check_words(tokens, words)
    if vocabulary.layout != "flattened":
        raise ConfigError(f"interleave takes a vocabulary in the layout flattened, got {vocabulary.layout}")
    if not words or len(words) != len(spoken):
        raise TextError(f"interleave takes words and one `spoken` for each, got {len(words)} and {len(spoken)}")
    first, frames, parts = 0, int(tokens.lengths[0]), []
    for is_speech, span in groupby(spoken):
        last = first + len(list(span)) - 1
        if is_speech:
            start = round(words[first - 1].end * tokens.frame_rate) if first else 0
            stop = round(words[last + 1].start * tokens.frame_rate) if last + 1 < len(words) else frames
            parts += vocabulary.to_ids(tokens.cut(start, min(stop, frames)))
        else:
            text = " ".join(word.text for word in words[first : last + 1])
            parts.append(tokens.codes.new_tensor(hf_tokenizer.encode(text, add_special_tokens=False)))
        first = last + 1
    return torch.cat(parts)


def separate(
    ids: Tensor | Sequence[int],
    vocabulary: UnitVocabulary,
    hf_tokenizer: PreTrainedTokenizerBase,
    *,
    repair: bool = False,
) -> list[Tokens | str]:
    """The spans of a sequence of speech and text: the inverse of `interleave`, for what a model writes as well.

    Raises:
        TokensError: speech that is out of order; with `repair` what does not fit is left out, as by
            `UnitVocabulary.from_ids`.
    """
    ids = torch.as_tensor(ids, dtype=torch.int64)
    kinds = vocabulary.kinds(ids)
    foreign, ends = kinds == FOREIGN, kinds == END
    # A span ends where the other kind begins, and after an end token.
    borders = (foreign[1:] != foreign[:-1]) | (ends[:-1] & ~foreign[1:])
    spans = torch.tensor_split(ids, (borders.nonzero().flatten() + 1).cpu())
    return [
        str(hf_tokenizer.decode(span.tolist()))
        if int(vocabulary.kinds(span[:1])) == FOREIGN
        else vocabulary.from_ids([span], repair=repair)
        for span in spans
        if len(span)
    ]


def draw_spans(words: int, mean_words: float, generator: np.random.Generator) -> list[bool]:
    """Which of so many words are spoken: spans of `mean_words` words in the mean (their number is geometric), in turn
    speech and text; the first is either."""
    if mean_words < 1:
        raise ConfigError(f"mean_words must be at least 1, got {mean_words}")
    changes = generator.random(words) < 1 / mean_words
    changes[:1] = generator.random() < 0.5
    return [bool(spoken) for spoken in np.cumsum(changes) % 2 == 1]
