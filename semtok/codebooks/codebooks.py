"""`Codebooks`: which layers have a codebook, in which order, and the rows that they have in codes."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from semtok.errors import ConfigError, LayerError


class Codebooks(Mapping[int, tuple[int, ...]]):
    """Layers -> codebook sizes of their residual stages, in the order that was asked for.

    Each stage has a row in codes; those of a layer stand together. The order is part of the value: the same layers in
    another order are other codebooks.

    Args:
        sizes: by encoder layer, one codebook size for each stage; a plain k-means has one stage.

    Raises:
        ConfigError: no layers, a layer below 0, a layer without stages, or a codebook of less than one code.
    """

    def __init__(self, sizes: Mapping[int, Sequence[int]]) -> None:
        self._sizes = {layer: tuple(stages) for layer, stages in sizes.items()}
        if not self._sizes or min(self._sizes) < 0:
            raise ConfigError(f"codebooks need layers, numbered from 0, got {list(self._sizes)}")
        if wrong := {layer: stages for layer, stages in self._sizes.items() if not stages or min(stages) < 1}:
            raise ConfigError(f"each layer needs codebook sizes of at least 1, one for each stage, got {wrong}")

    @classmethod
    def from_rows(cls, layers: Sequence[int], sizes: Sequence[int], stages: Sequence[int] = ()) -> Codebooks:
        """From how files list them: layers, the codebook size of each row, and stages of each layer (one by default).

        Raises:
            ConfigError: layers twice, or numbers of stages or sizes that do not fit the layers.
        """
        stages = tuple(stages) or (1,) * len(layers)
        if len(set(layers)) < len(layers):
            raise ConfigError(f"each layer can have its codebooks once, got layers {list(layers)}")
        if len(stages) != len(layers) or min(stages, default=0) < 1:
            raise ConfigError(f"layers {list(layers)} need as many stages, each at least 1, got {list(stages)}")
        if len(sizes) != sum(stages):
            raise ConfigError(
                f"layers {list(layers)} with stages {list(stages)} need {sum(stages)} codebook_sizes, got {list(sizes)}"
            )
        rows = iter(sizes)
        return cls({layer: [next(rows) for _ in range(count)] for layer, count in zip(layers, stages, strict=True)})

    def __getitem__(self, layer: int) -> tuple[int, ...]:
        return self._sizes[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codebooks) and list(self.items()) == list(other.items())

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __repr__(self) -> str:
        return f"Codebooks({self._sizes})"

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(self._sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codebook size of each row."""
        return tuple(size for stages in self._sizes.values() for size in stages)

    @property
    def stages(self) -> tuple[int, ...]:
        """How many stages, and so rows, each layer has."""
        return tuple(map(len, self._sizes.values()))

    @property
    def rows(self) -> dict[int, slice]:
        """The rows of each layer."""
        rows, start = {}, 0
        for layer, stages in self._sizes.items():
            rows[layer] = slice(start, start + len(stages))
            start += len(stages)
        return rows

    @property
    def names(self) -> tuple[str, ...]:
        """Of each row: "3" for a layer of one stage; "1.1", "1.2" for the stages of one that has two."""
        return tuple(
            str(layer) if len(stages) == 1 else f"{layer}.{stage}"
            for layer, stages in self._sizes.items()
            for stage in range(1, len(stages) + 1)
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The rows' names as those of columns in tables, where dots mean something: "l3", or "l1_s1", "l1_s2"."""
        return tuple("l" + name.replace(".", "_s") for name in self.names)

    @property
    def bits(self) -> float:
        """Bits that a frame of all rows takes, without entropy coding."""
        return sum(map(math.log2, self.sizes))

    def select(self, layers: Iterable[int], *, owner: str) -> Codebooks:
        """Those of some layers, in the order asked for; `LayerError` as `check_layers`, for `owner`."""
        return Codebooks({layer: self._sizes[layer] for layer in check_layers(layers, self.layers, owner=owner)})


def code_type(codebook_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The smallest type of a table that holds the codes of a row."""
    return np.dtype(np.uint16 if codebook_size <= 1 << 16 else np.uint32)


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
