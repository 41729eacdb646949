"""`Codebooks`: which layers have a codebook, in which order, and the rows that they have in codes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from semtok.codebooks.layers import Layer, check_layers, is_layer
from semtok.errors import LARGEST_SIZE, ConfigError

_MOST_ROWS = 1024


class Codebooks(Mapping[Layer, tuple[int, ...]]):
    """Which layers have codebooks: layer -> codebook size of each residual stage, in a chosen order.

    A layer has its number, or it is a mixture of layers and has a name.

    Each stage has a row in codes, and the rows of a layer stand together. The order is part of the value: the same
    layers in another order are other codebooks.

    Files hold codebooks as three lists, `layers`, `stages` and `codebook_sizes`: see `entries` and `from_rows`.

    Args:
        sizes: by layer, one codebook size for each stage; a plain k-means has one stage.

    Raises:
        ConfigError: no layers, a layer below 0 or of a name that is none, a layer without stages, a codebook of less
            than one code, or more rows or codes than any tokenizer has.
    """

    ENTRIES: ClassVar = ("layers", "stages", "codebook_sizes")
    """Names of the lists that files hold."""

    def __init__(self, sizes: Mapping[Layer, Sequence[int]]) -> None:
        self._sizes = {layer: tuple(stages) for layer, stages in sizes.items()}
        if not self._sizes or not all(map(is_layer, self._sizes)):
            raise ConfigError(f"codebooks need layers, numbered from 0 or named as 'mix', got {list(self._sizes)}")
        if wrong := {layer: stages for layer, stages in self._sizes.items() if not stages or min(stages) < 1}:
            raise ConfigError(f"each layer needs codebook sizes of at least 1, one for each stage, got {wrong}")
        if len(self.sizes) > _MOST_ROWS or max(self.sizes) > LARGEST_SIZE:
            raise ConfigError(
                f"codebooks can have {_MOST_ROWS} rows of at most {LARGEST_SIZE} codes, got {len(self.sizes)} rows of "
                f"up to {max(self.sizes)}"
            )

    @classmethod
    def from_rows(cls, layers: Sequence[Layer], codebook_sizes: Sequence[int], stages: Sequence[int] = ()) -> Codebooks:
        """Codebooks as files list them.

        Args:
            layers: numbers of encoder layers and names of mixtures, none twice.
            codebook_sizes: of each row.
            stages: of each layer; one each by default.

        Raises:
            ConfigError: anything but lists of integers and names, or lists that do not fit each other.
        """
        if not isinstance(layers, (list, tuple)) or not all(map(is_layer, layers)):
            raise ConfigError(
                f"layers must be a list of integers of at least 0, got {layers!r}; mixtures have names such as 'mix'"
            )
        for name, values in (("codebook_sizes", codebook_sizes), ("stages", stages)):
            if not isinstance(values, (list, tuple)) or not all(type(value) is int and value >= 1 for value in values):
                raise ConfigError(f"{name} must be a list of integers of at least 1, got {values!r}")
        stages = tuple(stages) or (1,) * len(layers)
        if len(set(layers)) < len(layers):
            raise ConfigError(f"each layer can have its codebooks once, got layers {list(layers)}")
        if len(stages) != len(layers) or not layers:
            raise ConfigError(f"layers {list(layers)} need as many stages, each at least 1, got {list(stages)}")
        if len(codebook_sizes) != sum(stages):
            raise ConfigError(
                f"layers {list(layers)} with stages {list(stages)} need {sum(stages)} codebook_sizes, "
                f"got {list(codebook_sizes)}"
            )
        rows = iter(codebook_sizes)
        return cls({layer: [next(rows) for _ in range(count)] for layer, count in zip(layers, stages, strict=True)})

    def __getitem__(self, layer: Layer) -> tuple[int, ...]:
        return self._sizes[layer]

    def __iter__(self) -> Iterator[Layer]:
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
    def entries(self) -> dict[str, tuple[Any, ...]]:
        """The three lists that files hold, by name: the arguments of `from_rows`."""
        return dict(zip(self.ENTRIES, (self.layers, self.stages, self.sizes), strict=True))

    @property
    def layers(self) -> tuple[Layer, ...]:
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
    def rows(self) -> dict[Layer, slice]:
        """The rows of each layer."""
        rows, start = {}, 0
        for layer, stages in self._sizes.items():
            rows[layer] = slice(start, start + len(stages))
            start += len(stages)
        return rows

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each row: "3" for a layer of one stage; "1.1", "1.2" for the stages of a layer that has two."""
        return tuple(
            str(layer) if len(stages) == 1 else f"{layer}.{stage}"
            for layer, stages in self._sizes.items()
            for stage in range(1, len(stages) + 1)
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The name of each row's column in a table, where dots have another meaning: "l3", or "l1_s1", "l1_s2"."""
        return tuple("l" + name.replace(".", "_s") for name in self.names)

    @property
    def bits(self) -> float:
        """Bits of one frame of all rows, without entropy coding."""
        return sum(map(math.log2, self.sizes))

    def select(self, layers: Iterable[Layer], *, owner: str) -> Codebooks:
        """The codebooks of some layers, in the order asked for; arguments and errors as in `check_layers`."""
        return Codebooks({layer: self._sizes[layer] for layer in check_layers(layers, self.layers, owner=owner)})


def code_type(codebook_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The smallest type in which a table can hold codes of so large a codebook."""
    return np.dtype(np.uint16 if codebook_size <= 1 << 16 else np.uint32)
