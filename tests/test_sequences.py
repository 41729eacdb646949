"""Sequences through a network: batches within their bound, and windows whose answers are those of the whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from semtok.audio.lengths import Windows
from semtok.networks.sequences import join, plan_batches, run


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 120), st.booleans())
def test_batches_have_every_sequence_once_and_keep_the_budget(lengths, budget, equal):
    batches = plan_batches(lengths, budget, equal=equal)
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    longest = [max(lengths[number] for number in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, length in zip(batches, longest, strict=True):
        assert len(batch) == 1 or len(batch) * length <= budget
        assert not equal or {lengths[number] for number in batch} == {length}


def test_batches_are_as_large_as_the_budget_allows():
    assert plan_batches([3, 10, 4, 5, 5], 10) == [[1], [3, 4], [2, 0]]
    assert plan_batches([3, 10, 4, 5, 5], 10, equal=True) == [[1], [3, 4], [2], [0]]


def neighbours(inputs, lengths, numbers):
    """The sum of a frame, the two before it and the one after it, for steps of one frame."""
    assert [int(length) for length in lengths] == [int((row[0] > 0).sum()) for row in inputs]
    return F.pad(inputs[:, 0], (2, 1)).unfold(1, 4, 1).sum(dim=2)


@pytest.mark.parametrize("budget", [1, 20, 1000])
@pytest.mark.parametrize("chunk", [1, 5, 9])
def test_windows_with_context_answer_as_the_whole(budget, chunk):
    lengths = [30, 1, 12, 0, 30, 13]
    sequences = [torch.randint(1, 99, (1, length)).float() for length in lengths]
    whole = [neighbours(one[None], [one.shape[1]], [0])[0] for one in sequences if one.shape[1]]
    answers = list(run(neighbours, sequences, Windows(chunk, 2, 1), budget))
    assert len(answers) > len(sequences)
    for one, other in zip(join(answers), whole, strict=True):
        assert torch.equal(one, other)


def test_numbers_of_sequences_and_steps_of_several_frames():
    def first_of_step(inputs, lengths, numbers):
        assert len({int(length) for length in lengths}) == 1, "equal"
        steps = F.pad(inputs[:, 0], (0, -inputs.shape[2] % 3)).unflatten(1, (-1, 3))[:, :, 0]
        return steps + 100 * torch.tensor(numbers)[:, None]

    sequences = [torch.arange(20.0)[None], torch.arange(9.0)[None], torch.arange(20.0)[None]]
    answers = run(first_of_step, sequences, Windows(6, 3, 3), 24, frames_per_step=3, equal=True)
    assert [steps.tolist() for steps in join(answers)] == [
        [0, 3, 6, 9, 12, 15, 18],
        [100, 103, 106],
        [200, 203, 206, 209, 212, 215, 218],
    ]
