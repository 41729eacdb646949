"""n-grams: what a language model has to do better than."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semtok.errors import ConfigError, TokensError

Ids = NDArray[np.int64]


class NGram:
    """An n-gram model with interpolated Kneser-Ney smoothing, one discount an order (Chen and Goodman, 1999).

    Order 1 is the unigram: relative frequencies, smoothed towards the uniform distribution.

    Args:
        order: n.
        size: ids are 0 ... size - 1.

    Raises:
        ConfigError: an order or a size below 1.
    """

    def __init__(self, order: int, size: int) -> None:
        if order < 1 or size < 1:
            raise ConfigError(f"order and size must be at least 1, got {order} and {size}")
        self.order, self.size = order, size

    def fit(self, sequences: Sequence[Ids]) -> NGram:
        """Counts the n-grams of sequences [n]; the first id of each is context alone. Returns self.

        Raises:
            TokensError: ids beyond the size, or none to learn from.
        """
        stream, places = self._join(sequences)
        if not (predicted := places > 0).any():
            raise TokensError("n-grams need sequences of at least two ids")
        # Contexts are numbered order by order, from the nearest id to the farthest: one of n ids is a pair, of one of
        # n - 1 ids and of the id before it.
        self._contexts: list[Ids] = []
        contexts = [np.zeros(len(stream), np.int64)]
        for distance in range(1, self.order):
            keys = self._pair(contexts[-1], self._before(stream, places, distance))
            self._contexts.append(np.unique(keys[predicted]))
            contexts.append(_find(self._contexts[-1], keys))
        counted = np.unique(self._pair(contexts[-1][predicted], stream[predicted]), return_counts=True)
        self._tables = [_Table(*counted, self.size + 1)]
        for number in reversed(self._contexts):
            # In lower orders it counts not how often an id occurs, but after how many different contexts.
            longer, ids = np.divmod(self._tables[0].grams, self.size + 1)
            counted = np.unique(self._pair(number[longer] // (self.size + 1), ids), return_counts=True)
            self._tables.insert(0, _Table(*counted, self.size + 1))
        return self

    def bits(self, sequences: Sequence[Ids]) -> list[NDArray[np.float64]]:
        """How many bits each id of each sequence takes but the first, which is context alone: [n - 1] each.

        Raises:
            TokensError: ids beyond the size.
        """
        stream, places = self._join(sequences)
        context = np.zeros(len(stream), np.int64)
        probability = np.full(len(stream), 1 / self.size)
        for distance, table in enumerate(self._tables):
            if distance:
                keys = self._pair(context, self._before(stream, places, distance))
                context = _find(self._contexts[distance - 1], keys)
            probability = table.interpolate(context, self._pair(context, stream), probability)
        ends = np.cumsum([len(sequence) for sequence in sequences])
        return [bits[1:] for bits in np.split(-np.log2(probability), ends[:-1])]

    def _join(self, sequences: Sequence[Ids]) -> tuple[Ids, Ids]:
        """All ids, and the place of each in its sequence."""
        stream = np.concatenate([np.zeros(0, np.int64), *sequences]).astype(np.int64)
        if len(stream) and not 0 <= stream.min() <= stream.max() < self.size:
            raise TokensError(f"ids must lie in 0 ... {self.size - 1}, got {stream.min()} to {stream.max()}")
        return stream, np.concatenate([np.zeros(0, np.int64), *(np.arange(len(ids)) for ids in sequences)])

    def _before(self, stream: Ids, places: Ids, distance: int) -> Ids:
        """The id that stands so far before each; before a sequence's first, an id that is none."""
        return np.where(places >= distance, np.roll(stream, distance), self.size)

    def _pair(self, contexts: Ids, ids: Ids) -> Ids:
        return np.where(contexts < 0, -1, contexts * (self.size + 1) + ids)


class _Table:
    """Counts of the n-grams of one order, each named by its context's number and its last id."""

    def __init__(self, grams: Ids, counts: Ids, base: int) -> None:
        self.grams, self._counts = grams, counts
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        self._discount = once / (once + 2 * twice) if once else 0.5
        contexts = grams // base
        self._totals, self._types = np.bincount(contexts, counts), np.bincount(contexts)

    def interpolate(self, contexts: Ids, grams: Ids, lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of n-grams, of those of the order below; contexts that never occurred, -1, keep those."""
        known, gram = contexts >= 0, _find(self.grams, grams)
        counts = np.where(gram >= 0, self._counts[gram], 0)
        totals, types = self._totals[contexts], self._types[contexts]
        rest = self._discount * types * lower
        higher: NDArray[np.float64] = (np.maximum(counts - self._discount, 0) + rest) / totals
        return np.where(known, higher, lower)


def _find(ascending: Ids, keys: Ids) -> Ids:
    """Where each key is, -1 if it is not there."""
    places = np.searchsorted(ascending, keys).clip(max=len(ascending) - 1)
    return np.where(ascending[places] == keys, places, -1)
