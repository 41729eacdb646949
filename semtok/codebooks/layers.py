"""Layers of an encoder: those that have a number, and mixtures of them, which have a name."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeGuard, TypeVar

from semtok.errors import ConfigError, LayerError

Layer: TypeAlias = int | str
"""The number of a layer, or the name of a mixture."""
Mixture: TypeAlias = Mapping[int, float]
"""The weight of each layer of a mixture: at least 0, of sum 1."""

Chosen = TypeVar("Chosen", int, Layer)

# Names of columns, tensors and tokens are made of those of layers.
_NAME = re.compile(r"[a-z][a-z0-9]{0,31}")
_ROUNDING = 1e-4


def is_layer(value: object) -> TypeGuard[Layer]:
    """Whether this is a number of at least 0, or a name: at most 32 letters a-z and digits, a letter first."""
    return (type(value) is int and value >= 0) or (isinstance(value, str) and _NAME.fullmatch(value) is not None)


def in_order(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Numbered layers ascending, then mixtures by the alphabet."""
    return tuple(sorted(layers, key=lambda layer: (isinstance(layer, str), layer)))


def describe(mixtures: Mapping[str, Mixture]) -> str:
    """Mixtures and their weights in words: "mix = 0.400 x 3 + 0.600 x 7"."""
    return "; ".join(
        f"{name} = {' + '.join(f'{weight:.3f} x {layer}' for layer, weight in weights.items())}"
        for name, weights in mixtures.items()
    )


def deepest(layers: Iterable[Layer], mixtures: Mapping[str, Mixture]) -> int:
    """The highest number of these layers and of those that they are mixed of."""
    return max(max(mixtures[layer]) if isinstance(layer, str) else layer for layer in layers)


def check_mixtures(mixtures: Mapping[str, Mixture]) -> dict[str, dict[int, float]]:
    """Mixtures, the layers of each ascending; layers of weight 0 are left out.

    Raises:
        ConfigError: a name that is none; layers that are no numbers of at least 0; weights below 0, not finite, or of
            another sum than 1.
    """
    for name, weights in mixtures.items():
        if not isinstance(name, str) or not is_layer(name):
            raise ConfigError(f"a mixture needs a name of letters a-z and digits such as 'mix', got {name!r}")
        if not weights or any(isinstance(layer, str) or not is_layer(layer) for layer in weights):
            raise ConfigError(f"mixture {name!r} needs layers, numbered from 0, got {list(weights)}")
        values = list(weights.values())
        if not all(isinstance(value, float | int) and 0 <= value < math.inf for value in values):
            raise ConfigError(f"the weights of mixture {name!r} must be numbers of at least 0, got {values}")
        if abs(sum(values) - 1) > _ROUNDING:
            raise ConfigError(
                f"the weights of mixture {name!r} must have the sum 1, got {sum(values):g}: divide them by their sum"
            )
    return {
        name: {layer: float(weight) for layer, weight in sorted(weights.items()) if weight > 0}
        for name, weights in mixtures.items()
    }


def check_layers(layers: Iterable[Layer], available: Sequence[Chosen], *, owner: str) -> tuple[Chosen, ...]:
    """The layers asked for, in the order asked for, if all of them are available.

    Args:
        layers: numbers of encoder layers and names of mixtures, none twice.
        available: layers that can be asked for.
        owner: whose layers these are, for the error messages, e.g. "the vocoder".

    Raises:
        LayerError: anything but a list of integers and names, no layer, a layer twice, or layers that are not
            available.
    """
    try:
        if isinstance(layers, str):
            raise TypeError
        asked = tuple(layer if isinstance(layer, str) else operator.index(layer) for layer in layers)
    except TypeError:
        raise LayerError(f"layers must be a list of integers such as [{available[0]}], got {layers!r}") from None
    if not asked:
        raise LayerError(f"no layers asked for: {owner} has {list(available)}")
    missing = [layer for layer in asked if layer not in available]
    if missing:
        raise LayerError(f"{owner} has no layers {missing}, only {list(available)}")
    if len(set(asked)) < len(asked):
        raise LayerError(f"each layer can be asked for once, got {list(asked)}")
    return tuple(available[available.index(layer)] for layer in asked)
