"""The n-gram baselines: probabilities that are right, and sum to 1."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from semtok.errors import ConfigError, TokensError
from semtok.language.ngrams import NGram


def sequences_of(*ids: list[int]) -> list[np.ndarray]:
    return [np.array(sequence) for sequence in ids]


def test_a_unigram_has_discounted_frequencies():
    """After the first id: 1 three times, 2 once, 3 never. One id occurred once and none twice, so the discount is 1."""
    model = NGram(1, 4).fit(sequences_of([0, 1, 1, 2, 1]))
    (bits,) = model.bits(sequences_of([0, 1, 2, 3]))
    rest = 1 * 2 / 4 / 4
    assert 2**-bits == pytest.approx([2 / 4 + rest, rest, rest])


def test_the_discount_is_that_of_how_many_ids_occurred_once_and_twice():
    """1 / (1 + 2 x 2) where one id occurred once and two did twice; 1/2 where none occurred once."""
    (bits,) = NGram(1, 5).fit(sequences_of([0, 1, 1, 2, 2, 3])).bits(sequences_of([0, 1, 3, 4]))
    rest = 0.2 * 3 / 5 / 5
    assert 2**-bits == pytest.approx([1.8 / 5 + rest, 0.8 / 5 + rest, rest])
    (bits,) = NGram(1, 4).fit(sequences_of([0, 1, 1, 2, 2])).bits(sequences_of([0, 1, 3]))
    rest = 0.5 * 2 / 4 / 4
    assert 2**-bits == pytest.approx([1.5 / 4 + rest, rest])


def test_a_bigram_falls_back_to_how_many_contexts_an_id_has():
    """The example of Kneser and Ney: 2 is frequent, but after 1 alone; 4 is rarer, after three different ids."""
    text = sequences_of([0, *[1, 2] * 5, 3, 4, 1, 4, 2, 4])
    bits = NGram(2, 6).fit(text).bits(sequences_of([0, 5, 2], [0, 5, 4]))
    assert bits[1][1] < bits[0][1]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=12), min_size=1, max_size=4),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_probabilities_sum_to_one(text, context, order):
    model = NGram(order, 5).fit(sequences_of(*text))
    bits = model.bits(sequences_of(*([*context, last] for last in range(5))))
    assert sum(2 ** -float(sequence[-1]) for sequence in bits) == pytest.approx(1)


def test_what_was_learnt_by_heart_takes_few_bits():
    text = sequences_of(*[[0, 1, 2, 3, 4, 5, 6, 7]] * 50)
    assert np.mean(NGram(5, 8).fit(text).bits(text)) < 0.1 < 2.5 < np.mean(NGram(1, 8).fit(text).bits(text))


def test_what_cannot_be_counted_is_refused():
    with refuses(ConfigError, "at least 1, got 0"):
        NGram(0, 4)
    with refuses(TokensError, "at least two ids"):
        NGram(2, 4).fit(sequences_of([1]))
    with refuses(TokensError, "0 ... 3, got 1 to 4"):
        NGram(2, 4).fit(sequences_of([1, 4]))
