from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semtok.audio.lengths import frame_count, frame_mask, minimum_samples

USUAL = ((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
W2V_BERT = ((400, 2), (160, 2))

# A kernel of at least its stride, as front ends have them: no sample is skipped.
front_ends = st.lists(
    st.integers(1, 10).flatmap(lambda stride: st.tuples(st.integers(stride, 20), st.just(stride))),
    min_size=1,
    max_size=7,
).map(lambda pairs: tuple(zip(*pairs, strict=True)))


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
    assert frame_count(samples, *front_end) == frames


def test_minimum_of_published_front_ends():
    assert minimum_samples(*USUAL) == 400
    assert minimum_samples(*W2V_BERT) == 560


@given(front_ends, st.integers(0, 5000))
def test_a_frame_is_what_a_convolution_gives(front_end, samples):
    expected = torch.zeros(1, 1, samples)
    for kernel, stride in zip(*front_end, strict=True):
        if expected.shape[2] < kernel:
            expected = expected[:, :, :0]
            break
        expected = torch.nn.functional.conv1d(expected, torch.ones(1, 1, kernel), stride=stride)
    assert frame_count(samples, *front_end) == expected.shape[2]


@given(front_ends)
def test_minimum_samples_is_the_shortest_with_a_frame(front_end):
    shortest = minimum_samples(*front_end)
    assert frame_count(shortest, *front_end) == 1
    assert frame_count(shortest - 1, *front_end) == 0


@given(front_ends, st.lists(st.integers(0, 100_000), min_size=1))
def test_tensors_are_counted_as_integers_are(front_end, lengths):
    counted = frame_count(torch.tensor(lengths), *front_end)
    assert counted.dtype == torch.int64
    assert counted.tolist() == [frame_count(length, *front_end) for length in lengths]


def test_frame_mask():
    mask = frame_mask(torch.tensor([0, 2, 3]), 3)
    assert mask.tolist() == [[False, False, False], [True, True, False], [True, True, True]]
