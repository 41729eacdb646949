from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semtok.audio.lengths import Framing, frame_mask

USUAL = Framing((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), 16000)
W2V_BERT = Framing((400, 2), (160, 2), 16000)

# A kernel of at least its stride, as front ends have them: no sample is skipped.
front_ends = st.lists(
    st.integers(1, 10).flatmap(lambda stride: st.tuples(st.integers(stride, 20), st.just(stride))),
    min_size=1,
    max_size=7,
).map(lambda pairs: Framing(*zip(*pairs, strict=True), 16000))


@pytest.mark.parametrize(
    ("front_end", "samples", "frames"),
    [
        (USUAL, 399, 0),
        (USUAL, 400, 1),
        (USUAL, 719, 1),
        (USUAL, 720, 2),
        (USUAL, 16000, 49),
        (W2V_BERT, 560, 1),
        (USUAL, 0, 0),
    ],
)
def test_published_front_ends(front_end, samples, frames):
    assert front_end.count(samples) == frames


def test_minimum_of_published_front_ends():
    assert USUAL.minimum_samples == 400
    assert W2V_BERT.minimum_samples == 560


@given(front_ends, st.integers(0, 5000))
def test_a_frame_is_what_a_convolution_gives(front_end, samples):
    expected = torch.zeros(1, 1, samples)
    for kernel, stride in zip(front_end.kernels, front_end.strides, strict=True):
        if expected.shape[2] < kernel:
            expected = expected[:, :, :0]
            break
        expected = torch.nn.functional.conv1d(expected, torch.ones(1, 1, kernel), stride=stride)
    assert front_end.count(samples) == expected.shape[2]


@given(front_ends)
def test_minimum_samples_is_the_shortest_with_a_frame(front_end):
    shortest = front_end.minimum_samples
    assert front_end.count(shortest) == 1
    assert front_end.count(shortest - 1) == 0


def test_frame_mask():
    mask = frame_mask(torch.tensor([0, 2, 3]), 3)
    assert mask.tolist() == [[False, False, False], [True, True, False], [True, True, True]]
