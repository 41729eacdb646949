"""n-gram models made of texts, with interpolated Witten-Bell smoothing (Chen and Goodman, 1999, section 2.5).

A backoff of a context keeps as much probability as different units followed it. Unlike Kneser-Ney's discounts it needs
no counts of counts, which characters, few and frequent, do not have.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from semtok.downstream.arpa import BEGIN, END, SPACE, UNKNOWN, BackoffModel, Gram
from semtok.errors import TextError

# log10 of no probability at all, in ARPA files.
_NEVER = -99.0


def split_words(text: str) -> list[str]:
    """The units of a text for a model over words."""
    return text.split()


def spell(text: str) -> list[str]:
    """The units of a text for a model over characters."""
    return [SPACE if character == " " else character for character in text]


def estimate(texts: Iterable[Sequence[str]], order: int) -> BackoffModel:
    """A model of up to `order` units, of texts in units; each begins with <s> and ends with </s>.

    Raises:
        TextError: an order below 1, or no texts.
    """
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for text in texts:
        whole = (BEGIN, *text, END)
        for end in range(1, len(whole)):
            for length in range(min(order, end + 1)):
                counts[length][whole[end - length : end + 1]] += 1
    if order < 1 or not counts[0]:
        raise TextError(f"an n-gram model needs an order of at least 1 and texts, got order {order} and no texts")
    units = {gram[0] for gram in counts[0]}
    # Every unit, and one never seen, is equally likely before anything is counted.
    probabilities: dict[Gram, float] = {(): 1 / (len(units) + 1)}
    weights: dict[Gram, float] = {}
    for of_order in counts:
        totals: dict[Gram, int] = defaultdict(int)
        followers: dict[Gram, int] = defaultdict(int)
        for gram, count in of_order.items():
            totals[gram[:-1]] += count
            followers[gram[:-1]] += 1
        for context, total in totals.items():
            weights[context] = followers[context] / (total + followers[context])
        for gram, count in of_order.items():
            context = gram[:-1]
            lower = probabilities[gram[1:]] if context else probabilities[()]
            probabilities[gram] = count / (totals[context] + followers[context]) + weights[context] * lower
    known = {gram: math.log10(probability) for gram, probability in probabilities.items() if gram}
    known |= {(UNKNOWN,): math.log10(weights[()] * probabilities[()]), (BEGIN,): _NEVER}
    return BackoffModel({gram: (number, math.log10(weights.get(gram, 1.0))) for gram, number in known.items()})
