"""Layers asked for, and their rows in codes.

A layer has one row, or where residual k-means has several stages one a stage; those of a layer stand together.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from semtok.errors import ConfigError, LayerError


def row_slices(stages: Sequence[int]) -> tuple[slice, ...]:
    """The rows of each layer, from how many stages each has."""
    ends = [sum(stages[: number + 1]) for number in range(len(stages))]
    return tuple(slice(end - count, end) for end, count in zip(ends, stages, strict=True))


def row_names(layers: Sequence[int], stages: Sequence[int]) -> tuple[str, ...]:
    """Names of the rows: "3" for a layer of one stage; "1.1", "1.2" for the stages of one that has two."""
    return tuple(
        str(layer) if count == 1 else f"{layer}.{stage}"
        for layer, count in zip(layers, stages, strict=True)
        for stage in range(1, count + 1)
    )


def check_layers(layers: Iterable[int], available: Sequence[int], *, owner: str) -> tuple[int, ...]:
    """The layers asked for, in the order asked, once it is sure that they can be had.

    Args:
        layers: encoder layer numbers, none twice.
        available: those there are.
        owner: who has them, as an error says it, e.g. "the vocoder".

    Raises:
        LayerError: anything but integers in a row, none at all, duplicates, or layers that are not available.
    """
    try:
        asked = tuple(operator.index(layer) for layer in layers)
    except TypeError:
        raise LayerError(f"layers must be a list of integers such as [{available[0]}], got {layers!r}") from None
    if not asked:
        raise LayerError(f"no layers asked for: {owner} has {list(available)}")
    missing = [layer for layer in asked if layer not in available]
    if missing:
        raise LayerError(f"{owner} has no layers {missing}, only {list(available)}")
    if len(set(asked)) < len(asked):
        raise LayerError(f"each layer can be asked for once, got {list(asked)}")
    return asked


def check_codebooks(config: Any) -> None:
    """Checks layers, stages and codebook sizes, and sets stages that were not given to one each."""
    layers, sizes = config.layers, config.codebook_sizes
    if not layers or layers[0] < 0 or list(layers) != sorted(set(layers)):
        raise ConfigError(f"layers must be ascending numbers from 0, none twice, got {list(layers)}")
    stages = config.stages or (1,) * len(layers)
    if len(stages) != len(layers) or min(stages) < 1:
        raise ConfigError(f"layers {list(layers)} need as many stages, each at least 1, got {list(stages)}")
    if len(sizes) != sum(stages) or min(sizes) < 2:
        raise ConfigError(
            f"layers {list(layers)} with stages {list(stages)} need {sum(stages)} codebook_sizes, each at least 2, "
            f"got {list(sizes)}"
        )
    object.__setattr__(config, "stages", stages)


def check_positive(config: Any, *names: str) -> None:
    """Raises `ConfigError` if one of these entries is less than 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, got {getattr(config, name)}")
