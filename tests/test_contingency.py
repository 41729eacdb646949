"""Purity and PNMI of codes, against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from semtok.evaluation.contingency import cluster_purity, contingency, phone_purity, pnmi, pnmi_bias


def test_counts():
    counts = contingency(np.array([0, 0, 2, 2, 2]), np.array([1, 1, 0, 1, 1]), 3, 2)
    assert counts.tolist() == [[0, 2], [0, 0], [1, 2]]
    assert (phone_purity(counts), cluster_purity(counts)) == (3 / 5, 4 / 5)


def test_codes_that_are_the_phones_renamed_say_all():
    phones = np.arange(6000) % 40
    counts = contingency(phones, 39 - phones, 40, 50)
    assert pnmi(counts) == pytest.approx(1)
    assert phone_purity(counts) == cluster_purity(counts) == 1


def test_two_codes_a_phone_say_all_of_it_and_share_its_frames():
    phones = np.arange(6000) % 40
    counts = contingency(phones, 2 * phones + np.arange(6000) // 3000, 40, 80)
    assert pnmi(counts) == pytest.approx(1)
    assert phone_purity(counts) == 1
    assert cluster_purity(counts) == pytest.approx(0.5)


def test_independent_codes_say_nothing_but_the_bias():
    generator = np.random.default_rng(0)
    phones, codes = generator.integers(40, size=200_000), generator.integers(500, size=200_000)
    counts = contingency(phones, codes, 40, 500)
    assert 0.01 < pnmi(counts) == pytest.approx(pnmi_bias(counts), rel=0.1)
    assert pnmi(contingency(phones, codes % 2, 40, 2)) < 0.001


def test_pnmi_is_mutual_information_by_the_entropy_of_the_phone():
    generator = np.random.default_rng(0)
    phones = generator.integers(5, size=1000)
    codes = (phones + generator.integers(3, size=1000)) % 7
    entropy = -sum(share * math.log(share) for share in np.bincount(phones) / 1000)
    expected = mutual_info_score(phones, codes) / entropy
    assert pnmi(contingency(phones, codes, 5, 7)) == pytest.approx(expected)


def test_without_frames_or_with_one_phone_nothing_is_defined():
    nothing, one = np.zeros((3, 4), np.int64), np.array([[3, 2]])
    assert all(math.isnan(measure(nothing)) for measure in (phone_purity, cluster_purity, pnmi, pnmi_bias))
    assert math.isnan(pnmi(one)) and phone_purity(one) == 1 and cluster_purity(one) == 0.6
