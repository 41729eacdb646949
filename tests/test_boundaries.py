"""Boundaries of units beside those of phones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semtok.analysis.boundaries import boundary_scores, count_hits, inner_boundaries
from semtok.evaluation.alignments import Alignment

TIMES = st.lists(st.integers(0, 30), unique=True, max_size=6).map(lambda times: np.sort(times) / 100)


@settings(deadline=None, max_examples=50)
@given(TIMES, TIMES)
def test_as_many_pairs_count_as_there_can_be(units, reference):
    def most(left, right):
        if not left:
            return 0
        pairs = [
            most(left[1:], right[:i] + right[i + 1 :]) + 1 for i, r in enumerate(right) if abs(left[0] - r) < 0.021
        ]
        return max([most(left[1:], right), *pairs])

    assert count_hits(units, reference, 0.02) == most(units.tolist(), reference.tolist())


def test_the_same_boundaries_score_one_and_others_nothing():
    times = [np.array([0.1, 0.5]), np.array([0.3])]
    same = boundary_scores(times, times)
    assert (same.precision, same.recall, same.f1, same.r_value) == (1, 1, 1, 1)
    assert boundary_scores([np.array([0.9])], [np.array([0.1])]).f1 == 0


def test_more_boundaries_than_there_are_lower_the_r_value():
    reference = [np.arange(1, 20) / 10]
    many = boundary_scores([np.arange(1, 100) / 50], reference)
    assert many.recall == 1 and many.r_value < many.f1 < 1


def test_without_boundaries_there_is_nothing_to_compare():
    with pytest.raises(ValueError, match="got 0 of units"):
        boundary_scores([np.zeros(0)], [np.array([0.1])])


def test_boundaries_are_those_within_what_is_spoken():
    alignment = Alignment(("a", "b", "c"), np.array([0.1, 0.2, 0.5]), np.array([0.2, 0.4, 0.6]))
    assert inner_boundaries(alignment).tolist() == [0.2, 0.4, 0.5]
    assert all(itertools.starmap(float.__lt__, itertools.pairwise(inner_boundaries(alignment).tolist())))
