"""What layers tell together and apart: mutual information between them, and each one's share of what all tell."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semtok.analysis.contingency import entropy
from semtok.analysis.information import held_out_information
from semtok.codebooks.layers import Layer, in_order
from semtok.support.arrays import Integers

Subset = tuple[Layer, ...]
Value = Callable[[Subset], float]
"""What a set of layers, ascending, is worth; called once for each."""

# With more layers, orders of all of them are drawn instead: 2^6 sets are 64 probes.
_EXACT_LAYERS = 6
_ORDERS = 8


@dataclass(frozen=True)
class Share:
    """A layer's part in what all layers tell of a label, in the unit of the value (bits).

    Args:
        alone: value of the layer by itself.
        conditional_gain: what only it tells: value of all layers less that of all others.
        shapley: mean gain over all orders in which layers can be added (Shapley, 1953); the shares of all layers add
            up to the value of all.
    """

    alone: float
    conditional_gain: float
    shapley: float


def information_matrix(codes: Sequence[Integers], groups: Integers) -> npt.NDArray[np.float64]:
    """What each of some rows of codes [frames] tells of each other one, in bits, [rows, rows]; symmetric.

    The mean of predicting one from the other in groups that were not counted (`held_out_information`), a lower bound
    of their mutual information and 0 at least: the plug-in estimate of two codebooks of 1000 is bits too high for hours
    of speech. On the diagonal stands the entropy.
    """
    matrix = np.diag([entropy(np.bincount(row)) / math.log(2) for row in codes])
    for first, second in itertools.combinations(range(len(codes)), 2):
        one, other = codes[first], codes[second]
        both_ways = held_out_information(one, other, groups), held_out_information(other, one, groups)
        matrix[first, second] = matrix[second, first] = max(0.0, float(np.mean(both_ways)))
    return matrix


def layer_shares(layers: Sequence[Layer], value: Value, *, seed: int = 0) -> Mapping[Layer, Share]:
    """Each layer's share of the value of all; of no layers the value is 0.

    Exact for up to 6 layers; for more, Shapley's shares are means over 8 random orders (`seed`), which still add up.
    """
    everything = in_order(layers)
    worth = Remembered(lambda subset: value(subset) if subset else 0.0)
    orders = (
        list(itertools.permutations(everything))
        if len(everything) <= _EXACT_LAYERS
        else [
            [everything[place] for place in np.random.default_rng([seed, number]).permutation(len(everything))]
            for number in range(_ORDERS)
        ]
    )
    gains: dict[Layer, list[float]] = {layer: [] for layer in everything}
    for order in orders:
        for place, layer in enumerate(order):
            before = in_order(order[:place])
            gains[layer].append(worth(in_order((*before, layer))) - worth(before))
    return {
        layer: Share(
            worth((layer,)),
            worth(everything) - worth(tuple(other for other in everything if other != layer)),
            float(np.mean(gains[layer])),
        )
        for layer in layers
    }


class Remembered:
    """A value that is computed once for each set of layers."""

    def __init__(self, value: Value) -> None:
        self._value = value
        self._known: dict[Subset, float] = {}

    def __call__(self, subset: Subset) -> float:
        subset = in_order(subset)
        if subset not in self._known:
            self._known[subset] = self._value(subset)
        return self._known[subset]
