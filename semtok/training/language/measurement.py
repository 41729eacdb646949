"""What a language model is worth on clips that it has not seen, beside n-grams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from semtok.errors import TextError
from semtok.language.model import SpeechLanguageModel
from semtok.language.ngrams import NGram
from semtok.language.words import Word, read_words, shuffle_words
from semtok.tokens import Tokens
from semtok.training.language.config import LanguageConfig
from semtok.training.language.sources import Utterances

_NGRAMS = {"unigram": 1, "5-gram": 5}


def measure(model: SpeechLanguageModel, utterances: Utterances, config: LanguageConfig) -> dict[str, Any]:
    """Bits an id and bits a second of the test clips, and with a file of words how often the right order of a clip's
    words takes fewer bits than a wrong one; by the model and by n-grams of the training clips.

    Raises:
        TextError: no test clip has two words in the file of words.
    """
    tokens = [utterance.tokens for utterance in utterances.test]
    vocabulary = model.vocabulary

    def ngram_bits(order: int) -> Callable[[Sequence[Tokens]], list[np.ndarray]]:
        def ids_of(batch: Sequence[Tokens]) -> list[np.ndarray]:
            return [vocabulary.to_ids(utterance)[0].numpy() for utterance in batch]

        ngram = NGram(order, len(vocabulary)).fit(ids_of([utterance.tokens for utterance in utterances.training]))
        return lambda batch: ngram.bits(ids_of(batch))

    judges: dict[str, Callable[[Sequence[Tokens]], list[np.ndarray]]] = {
        "model": lambda batch: [bits.cpu().numpy() for bits in model.bits(Tokens.cat(batch))],
        **{name: ngram_bits(order) for name, order in _NGRAMS.items()},
    }
    seconds = sum(float(utterance.durations[0]) for utterance in tokens)
    result: dict[str, Any] = {"clips": len(tokens), "seconds": seconds}
    bits = {name: np.concatenate(judge(tokens)) for name, judge in judges.items()}
    result["bits"] = {name: float(values.mean()) for name, values in bits.items()}
    result["bits_per_second"] = {name: float(values.sum()) / seconds for name, values in bits.items()}
    if config.words is not None:
        words = read_words(config.words)
        clips = [(utterance.tokens, _words_of(utterance.name, words)) for utterance in utterances.test]
        result["word_order"] = _word_order(judges, clips, config)
    return result


def _words_of(name: str, words: Mapping[str, Sequence[Word]]) -> Sequence[Word]:
    """Those of a clip, by the end of their path; none if there are none."""
    return next((listed for path, listed in words.items() if f"/{path}".endswith(f"/{name}")), [])


def _word_order(
    judges: dict[str, Callable[[Sequence[Tokens]], list[np.ndarray]]],
    clips: Sequence[tuple[Tokens, Sequence[Word]]],
    config: LanguageConfig,
) -> dict[str, Any]:
    clips = [(tokens, words) for tokens, words in clips if len(words) > 1]
    if not clips:
        raise TextError(
            f"none of the test clips has two words in {config.words}: its paths must end as those of the clips "
            "below the folder that was encoded"
        )
    generator = np.random.default_rng(config.seed)
    right = [tokens for tokens, _ in clips for _ in range(config.word_orders)]
    wrong = [shuffle_words(tokens, words, generator) for tokens, words in clips for _ in range(config.word_orders)]
    chosen = {}
    for name, judge in judges.items():
        pairs = zip(judge(right), judge(wrong), strict=True)
        chosen[name] = float(np.mean([one.sum() < other.sum() for one, other in pairs]))
    return {"clips": len(clips), "pairs": len(right), "right": chosen}
