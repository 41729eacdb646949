"""How many bits the codes of several rows together tell of a label: a small network, measured on held-out frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semtok.support.arrays import Integers
from semtok.support.intervals import bootstrap_interval

_WIDTH = 64
_DRAWS = 500
_BATCH = 1024
_EPOCHS = 30
# Epochs without a better validation loss after which a probe stops.
_PATIENCE = 3
_LEARNING_RATE = 0.01
# Without it, rows that tell nothing new cost several per cent of the bits on half an hour of speech.
_WEIGHT_DECAY = 3e-4
_SHARES = (0.6, 0.8)  # of the groups: trained on up to the first, validated on up to the second, tested on from there


@dataclass(frozen=True)
class Probe:
    """What a probe achieved on the test frames.

    Args:
        bits: by how much it shortens the label of a frame, compared with the frequencies of the labels in training. A
            lower bound of the information that a network of its kind can use (V-information, Xu et al., 2020); a
            little below 0 where there is none.
        accuracy: share of the frames whose label it names.
        group_accuracy: share of the groups, such as clips, whose main label has the highest sum of log-probabilities
            over their frames.
        low, high: interval of the bits, by bootstrap over the groups; NaN of fewer than two.
    """

    bits: float
    accuracy: float
    group_accuracy: float
    low: float
    high: float


def probe(
    codes: Integers,
    labels: Integers,
    groups: Integers,
    sizes: Sequence[int],
    *,
    linear: bool = False,
    max_frames: int = 60_000,
    seed: int = 0,
) -> Probe:
    """Trains a network from codes [rows, frames] to labels [frames] and tests it on other `groups` [frames].

    Each row has a table of vectors, which are added up; one hidden layer follows, so that codes which tell something
    only together are understood, or none if `linear`. Of each frame, no other frame is seen.

    Args:
        sizes: codebook size of each row.
        max_frames: that are used, drawn at random where there are more.
        seed: of the draw, of the split into groups and of the network.

    Raises:
        ValueError: fewer than three groups, which cannot be split.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < 3:
        raise ValueError(f"a probe needs 3 groups to train, validate and test on, got {len(names)}")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(names))
    first, second = max(1, round(_SHARES[0] * len(names))), max(2, round(_SHARES[1] * len(names)))
    second = min(second, len(names) - 1)
    part_of = np.digitize(order, [min(first, second - 1), second])[numbers]
    drawn = np.sort(generator.permutation(len(labels))[:max_frames])
    part_of, numbers = part_of[drawn], numbers[drawn]
    offsets = np.cumsum([0, *sizes[:-1]])
    inputs = torch.from_numpy(codes[:, drawn].T + offsets)
    targets = torch.from_numpy(labels[drawn])
    train, valid, test = (torch.from_numpy(np.flatnonzero(part_of == part)) for part in range(3))
    classes = int(labels.max()) + 1
    frequencies = torch.bincount(targets[train], minlength=classes) + 1.0
    prior = (frequencies / frequencies.sum()).log()
    network = _Network(sum(sizes), classes, prior, linear=linear, seed=seed)
    network.fit(inputs, targets, train, valid, torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        scores = network.log_probabilities(inputs[test])
    expected = targets[test]
    places = torch.arange(len(test))
    gains = (scores[places, expected] - prior[expected]).double() / math.log(2)
    accuracy = (scores.argmax(1) == expected).float().mean()
    of_groups = torch.from_numpy(numbers)[test]
    counts = np.bincount(of_groups.numpy()).astype(np.float64)
    sums = np.bincount(of_groups.numpy(), gains.numpy()).astype(np.float64)
    interval = bootstrap_interval(sums[counts > 0], counts[counts > 0], draws=_DRAWS)
    return Probe(float(gains.mean()), float(accuracy), _group_accuracy(scores, expected, of_groups), *interval)


class _Network:
    """Tables of vectors [codes, width], their sum, a hidden layer, and the labels' frequencies to start from."""

    def __init__(self, codes: int, classes: int, prior: Tensor, *, linear: bool, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        width = classes if linear else _WIDTH
        self.linear = linear
        self.table = 0.1 * torch.randn(codes, width, generator=generator)
        self.bias = 0.1 * torch.randn(width, generator=generator)
        self.output = torch.randn(width, classes, generator=generator) / math.sqrt(width)
        self.offset = prior.clone()
        self.parameters = [self.table, self.offset] if linear else [self.table, self.bias, self.output, self.offset]

    def log_probabilities(self, inputs: Tensor) -> Tensor:
        vectors = F.embedding_bag(inputs, self.table, mode="sum")
        if not self.linear:
            vectors = torch.relu(vectors + self.bias) @ self.output
        return F.log_softmax(vectors + self.offset, dim=1)

    def fit(self, inputs: Tensor, targets: Tensor, train: Tensor, valid: Tensor, generator: torch.Generator) -> None:
        """Keeps the parameters of the epoch with the lowest validation loss; that of no epoch counts too."""
        with torch.inference_mode(False), torch.enable_grad():
            best, best_state, waited = self._loss(inputs, targets, valid), self._copy(), 0
            if not self.linear:
                # no epoch: the frequencies alone
                best_state[2].zero_()
                best = float(F.nll_loss(self.offset.log_softmax(0).expand(len(valid), -1), targets[valid]))
            for parameter in self.parameters:
                parameter.requires_grad_(True)
            optimizer = torch.optim.Adam(self.parameters, lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
            for _ in range(_EPOCHS):
                for batch in train[torch.randperm(len(train), generator=generator)].split(_BATCH):
                    optimizer.zero_grad()
                    F.nll_loss(self.log_probabilities(inputs[batch]), targets[batch]).backward()
                    optimizer.step()
                loss = self._loss(inputs, targets, valid)
                if loss < best:
                    best, best_state, waited = loss, self._copy(), 0
                elif (waited := waited + 1) == _PATIENCE:
                    break
            for parameter, value in zip(self.parameters, best_state, strict=True):
                parameter.requires_grad_(False).copy_(value)

    @torch.no_grad()
    def _loss(self, inputs: Tensor, targets: Tensor, frames: Tensor) -> float:
        return float(F.nll_loss(self.log_probabilities(inputs[frames]), targets[frames]))

    def _copy(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]


def _group_accuracy(scores: Tensor, labels: Tensor, groups: Tensor) -> float:
    names, numbers = groups.unique(return_inverse=True)
    summed = torch.zeros(len(names), scores.shape[1]).index_add_(0, numbers, scores)
    counts = torch.zeros_like(summed).index_add_(0, numbers, F.one_hot(labels, scores.shape[1]).float())
    return float((summed.argmax(1) == counts.argmax(1)).float().mean())
