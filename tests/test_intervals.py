"""How sure figures are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semtok.errors import SemtokError
from semtok.support.intervals import bootstrap_interval, bootstrap_of, mcnemar, paired_bootstrap, wilson_interval


def test_wilson_has_the_values_of_the_formula_by_hand():
    # 12 of 51 with z = 1.96: centre (.2353 + .0377) / 1.0753, half-width as published calculators give it
    assert wilson_interval(12, 51) == pytest.approx((0.1400, 0.3677), abs=2e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=2e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=2e-4)


@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilson_holds_the_share_and_stays_a_share(case):
    errors, count = case
    low, high = wilson_interval(errors, count)
    assert 0 <= low <= errors / count + 1e-12
    assert errors / count - 1e-12 <= high <= 1


def test_a_share_of_nothing_is_unknown_and_more_errors_than_clips_are_refused():
    assert all(map(math.isnan, wilson_interval(0, 0)))
    with pytest.raises(SemtokError, match=r"0 \.\.\. 5"):
        wilson_interval(6, 5)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(3, 2, 400)
    half = 1.96 * values.std() / 20
    assert bootstrap_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_an_error_rate_weighs_clips_by_their_words():
    errors, words = [0, 0, 10], [10, 10, 10]
    assert bootstrap_interval(errors, words) == pytest.approx((0, 1), abs=0.01)
    # the long clip without errors is in nearly every draw and outweighs the others
    assert bootstrap_interval([1, 1, 1, 0], [1, 1, 1, 10_000])[0] < 0.01


def test_an_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(2)
    intervals = [bootstrap_interval(generator.exponential(1, 60), draws=300) for _ in range(200)]
    assert 0.88 <= np.mean([low <= 1 <= high for low, high in intervals]) <= 0.99


def test_any_figure_of_clips_has_an_interval():
    labels = np.array([0] * 90 + [1] * 10)
    wrong = np.array([0] * 90 + [1] * 10)

    def balanced(clips: np.ndarray) -> float:
        return float(np.mean([wrong[clips][labels[clips] == label].mean() for label in np.unique(labels[clips])]))

    assert bootstrap_of(balanced, 100) == pytest.approx((0.5, 0.5), abs=0.01)


def test_what_says_nothing_is_told_as_unknown_or_refused():
    assert all(map(math.isnan, bootstrap_interval([0.5])))
    assert not paired_bootstrap([0.5], [0.7]).significant
    with pytest.raises(SemtokError, match="not finite"):
        bootstrap_interval([0.5, math.nan])
    with pytest.raises(SemtokError, match="counts of all clips are 0"):
        bootstrap_interval([1, 0], [0, 0])
    with pytest.raises(SemtokError, match="one count a clip"):
        bootstrap_interval([1, 0], [1])
    with pytest.raises(SemtokError, match="got 1 and 2"):
        mcnemar([True], [True, False])
    with pytest.raises(SemtokError, match="got 1 and 2"):
        paired_bootstrap([1], [1, 0])


def test_mcnemar_has_the_values_of_the_binomial():
    def wrong(both: int, first: int, second: int, none: int) -> tuple[list[bool], list[bool]]:
        return (
            [True] * (both + first) + [False] * (second + none),
            [True] * both + [False] * first + [True] * second + [False] * none,
        )

    assert mcnemar(*wrong(3, 1, 9, 30)) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(*wrong(3, 9, 1, 30)) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(*wrong(5, 4, 4, 5)) == 1.0
    assert mcnemar(*wrong(5, 0, 0, 5)) == 1.0


def test_paired_clips_tell_a_difference_that_intervals_would_not():
    hard = np.random.default_rng(3).uniform(0, 1, 100)
    compared = paired_bootstrap(hard, hard - 0.01)
    assert compared.difference == pytest.approx(-0.01)
    assert compared.significant and compared.interval.high < 0
    noise = np.random.default_rng(4).normal(0, 1, 100)
    assert not paired_bootstrap(hard, hard + noise - noise.mean()).significant


def test_equal_models_are_seldom_called_different():
    generator = np.random.default_rng(5)
    p = [paired_bootstrap(*generator.normal(size=(2, 40)), draws=200).p for _ in range(200)]
    assert np.mean(np.array(p) < 0.05) <= 0.1
