"""Codes that change only where it pays: as good as trying all sequences."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semtok.codebooks.segmentation import penalized_codes, segment_means


def cost(distances: torch.Tensor, codes: torch.Tensor, penalty: float) -> float:
    changes = int((codes[1:] != codes[:-1]).sum())
    return float(distances.gather(1, codes[:, None]).sum()) + penalty * changes


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.floats(0, 2), st.integers(0, 100))
def test_no_other_codes_cost_less(frames, penalty, seed):
    distances = torch.rand(2, frames, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    for row, codes in zip(distances, penalized_codes(distances, penalty), strict=True):
        others = map(torch.tensor, itertools.product(range(3), repeat=frames))
        assert cost(row, codes, penalty) == pytest.approx(min(cost(row, other, penalty) for other in others))


def test_a_penalty_merges_and_none_takes_the_nearest():
    distances = torch.rand(3, 50, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(penalized_codes(distances, 0.0), distances.argmin(-1))
    runs = [int((penalized_codes(distances, p).diff(dim=1) != 0).sum()) for p in (0.0, 0.2, 0.5, 100.0)]
    assert runs[0] > runs[1] > runs[2] > runs[3] == 0


def test_means_are_of_runs_within_a_clip():
    features = torch.arange(8.0).reshape(2, 4, 1)
    codes = torch.tensor([[5, 5, 1, 1], [1, 1, 1, 5]])
    assert segment_means(features, codes).flatten().tolist() == [0.5, 0.5, 2.5, 2.5, 5, 5, 5, 7]
