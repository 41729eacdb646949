"""Which layers to take for a purpose: greedy search, the curve of quality over bitrate, and its knee."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from semtok.analysis.layers import Remembered, Subset, Value
from semtok.codebooks.layers import Layer, in_order
from semtok.support.progress import track


@dataclass(frozen=True)
class Choice:
    """The best set of so many layers, as greedy search has it.

    Args:
        layers: ascending.
        quality: in the unit of the purpose; higher is better.
        bitrate: bit/s of their plain codes.
    """

    layers: Subset
    quality: float
    bitrate: float


def select_layers(
    layers: Sequence[Layer], quality: Value, bitrate: Callable[[Subset], float], *, most: int | None = None
) -> list[Choice]:
    """The best 1, 2, 3 ... of these layers, up to `most` (all by default).

    Each set is the one before it and the layer that raises `quality` most; of equal ones that of the lower bitrate.
    """
    quality = Remembered(quality)
    choices: list[Choice] = []
    chosen: Subset = ()
    steps = min(most or len(layers), len(layers))
    for _ in track(range(steps), "selecting layers", steps):
        candidates = [in_order((*chosen, layer)) for layer in layers if layer not in chosen]
        chosen = max(candidates, key=lambda subset: (quality(subset), -bitrate(subset)))
        choices.append(Choice(chosen, quality(chosen), bitrate(chosen)))
    return choices


def knee(choices: Sequence[Choice]) -> Choice:
    """The choice from which on more bits bring less: the one farthest above the line from nothing to the best one.

    Where quality grows with the bits all along, the best one. Source: Satopaa et al., "Finding a 'Kneedle' in a
    Haystack", 2011.
    """
    best = int(np.argmax([choice.quality for choice in choices]))
    up_to_best = choices[: best + 1]
    if up_to_best[-1].quality <= 0:
        return up_to_best[-1]
    above = [
        round(choice.quality / up_to_best[-1].quality - choice.bitrate / up_to_best[-1].bitrate, 3)
        for choice in up_to_best
    ]
    return up_to_best[max(range(best + 1), key=lambda number: (above[number], number))]
