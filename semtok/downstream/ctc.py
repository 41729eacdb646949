"""Connectionist temporal classification: the best label sequence, and the best alignment of a given one.

Label 0 is the blank. Graves et al. (2006).
"""

from __future__ import annotations

import math
from collections import defaultdict
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from semtok.downstream.decoding import Progress, TextScorer
from semtok.errors import TextError
from semtok.support.arrays import Integers

# Labels less likely than this in a step are not looked at by the beam search.
_LEAST_LOG_PROBABILITY = -7.0


def best_path(log_probabilities: Tensor) -> list[int]:
    """Labels of the likeliest path through [steps, labels]: repetitions merged, blanks left out."""
    path = torch.unique_consecutive(log_probabilities.argmax(dim=1)).tolist()
    return [label for label in path if label != 0]


def beam_search(log_probabilities: Tensor, beam: int, scorer: TextScorer | None = None) -> list[int]:
    """The likeliest labels for [steps, labels], over all their paths, by a search with so many prefixes.

    Prefix search (Hannun et al., 2014); with a `scorer` what its language model says of the text is added.
    """
    # What the language model says of each prefix that was met.
    progress: dict[tuple[int, ...], Progress] = {} if scorer is None else {(): scorer.start}
    # Of each prefix the log-probabilities of its paths that end in a blank, and of those that end in its last label.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for step in log_probabilities.double().tolist():
        likely = [label for label, score in enumerate(step) if label and score > _LEAST_LOG_PROBABILITY]
        following: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for prefix, (in_blank, in_label) in beams.items():
            total = _log_sum(in_blank, in_label)
            same = following[prefix]
            same[0] = _log_sum(same[0], total + step[0])
            if prefix:
                same[1] = _log_sum(same[1], in_label + step[prefix[-1]])
            for label in likely:
                # A label follows itself only across a blank.
                before = in_blank if prefix and label == prefix[-1] else total
                longer = following[(*prefix, label)]
                longer[1] = _log_sum(longer[1], before + step[label])
        if scorer is not None:
            for prefix in following.keys() - progress.keys():
                progress[prefix] = scorer.follow(progress[prefix[:-1]], prefix[-1])
        totals = {
            prefix: _log_sum(*scores) + (progress[prefix].score if scorer else 0.0)
            for prefix, scores in following.items()
        }
        ranked = sorted(following, key=totals.__getitem__, reverse=True)[:beam]
        beams = {prefix: (following[prefix][0], following[prefix][1]) for prefix in ranked}
    if scorer is None:
        return list(next(iter(beams)))
    ends = {prefix: _log_sum(*scores) + scorer.end(progress[prefix]) for prefix, scores in beams.items()}
    return list(max(ends.items(), key=itemgetter(1))[0])


def _log_sum(first: float, second: float) -> float:
    """log(exp(first) + exp(second)); numpy's takes several times as long for single numbers."""
    high, low = max(first, second), min(first, second)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def align(log_probabilities: Tensor, labels: list[int]) -> Integers:
    """The first step of each label on the likeliest path through [steps, labels] that spells them: int64 [labels].

    Raises:
        TextError: there are too few steps for these labels.
    """
    steps = log_probabilities.double().cpu().numpy()
    # Blanks around all labels; a path goes from a state to itself, the next, or over a blank between unlike labels.
    states = np.zeros(2 * len(labels) + 1, dtype=np.int64)
    states[1::2] = labels
    may_skip = np.zeros(len(states), dtype=bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), -math.inf)
    scores[:2] = steps[0, states[:2]]
    came_from = np.zeros((len(steps), len(states)), dtype=np.int8)
    for number, step in enumerate(steps[1:], start=1):
        next_ = np.concatenate([[-math.inf], scores[:-1]])
        over = np.where(may_skip, np.concatenate([[-math.inf, -math.inf], scores[:-2]]), -math.inf)
        choices = np.stack([scores, next_, over])
        came_from[number] = choices.argmax(axis=0)
        scores = choices.max(axis=0) + step[states]
    state = len(states) - 1 if scores[-1] >= scores[-2] else len(states) - 2
    if scores[state] == -math.inf:
        raise TextError(f"{len(steps)} steps of speech are too few for a text of {len(labels)} units")
    firsts = np.zeros(len(labels), dtype=np.int64)
    for number in range(len(steps) - 1, -1, -1):
        if state % 2:
            firsts[state // 2] = number
        state -= int(came_from[number, state])
    return firsts
