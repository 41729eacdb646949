"""Purity and PNMI of codes, against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from semtok.analysis.contingency import (
    cluster_purity,
    contingency,
    entropy,
    mutual_information,
    mutual_information_bias,
    phone_purity,
)
from semtok.analysis.information import information


def test_counts():
    counts = contingency(np.array([0, 0, 2, 2, 2]), np.array([1, 1, 0, 1, 1]), 3, 2)
    assert counts.tolist() == [[0, 2], [0, 0], [1, 2]]
    assert (phone_purity(counts), cluster_purity(counts)) == (3 / 5, 4 / 5)


def pnmi(phones, codes):
    """As a study has it; each frame is a clip."""
    return information(phones, codes, np.arange(len(phones))).normalized


def test_codes_that_are_the_phones_renamed_say_all():
    phones = np.arange(6000) % 40
    counts = contingency(phones, 39 - phones, 40, 50)
    assert pnmi(phones, 39 - phones) == pytest.approx(1)
    assert phone_purity(counts) == cluster_purity(counts) == 1


def test_two_codes_a_phone_say_all_of_it_and_share_its_frames():
    phones = np.arange(6000) % 40
    codes = 2 * phones + np.arange(6000) // 3000
    counts = contingency(phones, codes, 40, 80)
    assert pnmi(phones, codes) == pytest.approx(1)
    assert phone_purity(counts) == 1
    assert cluster_purity(counts) == pytest.approx(0.5)


def test_independent_codes_say_nothing_but_the_bias():
    generator = np.random.default_rng(0)
    phones, codes = generator.integers(40, size=200_000), generator.integers(500, size=200_000)
    counts = contingency(phones, codes, 40, 500)
    label_entropy = entropy(counts.sum(axis=1))
    assert mutual_information(counts) / label_entropy > 0.01
    assert mutual_information(counts) == pytest.approx(mutual_information_bias(counts), rel=0.1)
    assert mutual_information(contingency(phones, codes % 2, 40, 2)) / label_entropy < 0.001


def test_pnmi_is_mutual_information_by_the_entropy_of_the_phone():
    generator = np.random.default_rng(0)
    phones = generator.integers(5, size=1000)
    codes = (phones + generator.integers(3, size=1000)) % 7
    label_entropy = -sum(share * math.log(share) for share in np.bincount(phones) / 1000)
    assert pnmi(phones, codes) == pytest.approx(mutual_info_score(phones, codes) / label_entropy)


def test_without_frames_or_with_one_phone_nothing_is_defined():
    nothing, one = np.zeros((3, 4), np.int64), np.array([[3, 2]])
    assert all(math.isnan(measure(nothing)) for measure in (phone_purity, cluster_purity))
    assert mutual_information(nothing) == 0 and mutual_information(one) == pytest.approx(0)
    assert phone_purity(one) == 1 and cluster_purity(one) == 0.6
