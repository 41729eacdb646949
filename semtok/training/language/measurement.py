"""What a language model is worth on clips that it has not seen, beside n-grams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semtok.errors import TextError
from semtok.language.model import SpeechLanguageModel
from semtok.language.ngrams import NGram
from semtok.language.vocabulary import UnitVocabulary
from semtok.language.words import read_words, shuffle_words
from semtok.tokens import Tokens
from semtok.training.language.config import LanguageConfig
from semtok.training.language.sources import Utterance, Utterances

_NGRAMS = {"unigram": 1, "5-gram": 5}


@dataclass(frozen=True)
class WrongOrder:
    """A test clip with its words in another order.

    Args:
        clip: number of the test clip.
        tokens: in the other order.
        before: where each frame was, int64 [frames].
    """

    clip: int
    tokens: Tokens
    before: np.ndarray


def draw_wrong_orders(test: Sequence[Utterance], config: LanguageConfig) -> list[WrongOrder]:
    """`word_orders` of each test clip of two words or more in the file of words; none without a file.

    Raises:
        TextError: there is no such clip; the file is missing or malformed, or its words do not fit a clip.
    """
    if config.words is None:
        return []
    words = {f"/{path}": listed for path, listed in read_words(config.words).items()}
    generator = np.random.default_rng(config.seed)
    orders = []
    for number, utterance in enumerate(test):
        # The file's paths and the corpus' may begin at different folders.
        name = f"/{utterance.name}"
        listed = next((words[path] for path in words if path.endswith(name) or name.endswith(path)), [])
        if len(listed) > 1:
            orders += [
                WrongOrder(number, *shuffle_words(utterance.tokens, listed, generator))
                for _ in range(config.word_orders)
            ]
    if not orders:
        raise TextError(
            f"none of {len(test)} test clips, such as {test[0].name}, has two words in {config.words}: its paths must "
            "end as theirs"
        )
    return orders


def measure(model: SpeechLanguageModel, utterances: Utterances, orders: Sequence[WrongOrder]) -> dict[str, Any]:
    """Bits an id and bits a second of the test clips, and how often the right order of a clip's words takes fewer bits
    than a wrong one; by the model and by n-grams of the training clips. See docs/language-models.md."""
    test = [utterance.tokens for utterance in utterances.test]
    seconds = sum(float(tokens.durations[0]) for tokens in test)
    result: dict[str, Any] = {"clips": len(test), "seconds": seconds, "bits": {}, "bits_per_second": {}}
    if orders:
        result["word_order"] = {"clips": len({order.clip for order in orders}), "pairs": len(orders), "right": {}}
        if not model.vocabulary.max_duration:
            result["word_order"]["right_away_from_cuts"] = {}
    for name, judge in _judges(model, utterances).items():
        bits = judge(test)
        result["bits"][name] = float(np.concatenate(bits).mean())
        result["bits_per_second"][name] = float(sum(clip.sum() for clip in bits)) / seconds
        if orders:
            wrong = judge([order.tokens for order in orders])
            pairs = [(bits[order.clip], other, order) for order, other in zip(orders, wrong, strict=True)]
            for entry, share in _compare(pairs, len(model.vocabulary.sizes)).items():
                if entry in result["word_order"]:
                    result["word_order"][entry][name] = share
    return result


def _compare(pairs: Sequence[tuple[np.ndarray, np.ndarray, WrongOrder]], rows: int) -> dict[str, float]:
    """How often the first of two orders takes fewer bits; ties are half a time.

    Away from cuts are the frames that come after the same frames as before, as far as the longest n-gram sees: those
    that it cannot tell apart.
    """
    everywhere, away = [], []
    for right, wrong, order in pairs:
        everywhere.append(wrong.sum() - right.sum())
        if len(wrong) == len(right) == rows * len(order.before) + 1:  # no durations; the last id is the end
            places, reach = order.before, max(_NGRAMS.values()) - 1
            same = np.arange(len(places)) >= reach
            for distance in range(1, reach + 1):
                same &= np.roll(places, distance) == places - distance
            of_frames = [bits[:-1].reshape(-1, rows).sum(axis=1) for bits in (right, wrong)]
            away.append((of_frames[1] - of_frames[0][places])[same].sum())
    return {
        name: float(np.mean((np.array(more) > 1e-3) + 0.5 * (np.abs(more) <= 1e-3)))
        for name, more in (("right", everywhere), ("right_away_from_cuts", away))
        if more
    }


def _judges(
    model: SpeechLanguageModel, utterances: Utterances
) -> dict[str, Callable[[list[Tokens]], list[np.ndarray]]]:
    """By name, what gives the bits of each id of utterances."""
    judges: dict[str, Callable[[list[Tokens]], list[np.ndarray]]] = {
        "model": lambda tokens: [bits.cpu().numpy() for bits in model.bits(Tokens.cat(tokens))]
    }
    training = _ids(model.vocabulary, [utterance.tokens for utterance in utterances.training])
    for name, order in _NGRAMS.items():
        judges[name] = _ngram_judge(NGram(order, len(model.vocabulary)).fit(training), model.vocabulary)
    return judges


def _ngram_judge(ngram: NGram, vocabulary: UnitVocabulary) -> Callable[[list[Tokens]], list[np.ndarray]]:
    return lambda tokens: ngram.bits(_ids(vocabulary, tokens))


def _ids(vocabulary: UnitVocabulary, tokens: Sequence[Tokens]) -> list[np.ndarray]:
    return [vocabulary.to_ids(utterance)[0].numpy() for utterance in tokens]
