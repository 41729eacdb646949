"""The colours of layers, the same on every page and picture.

Four of one lightness, which people with protanopia or deuteranopia tell apart as well, and on which white text has a
contrast of 4.5 or more; as areas they have 3 or more on white and on the dark pages. The number of the layer always
stands beside its colour, so that a fifth layer may begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Key = TypeVar("Key")

COLOURS = ("#0072b2", "#a65e00", "#b3366b", "#7a3ff2")


def layer_colours(layers: Sequence[Key]) -> dict[Key, str]:
    """A colour "#rrggbb" for each of all layers of a tokenizer, in their order."""
    return {layer: COLOURS[rank % len(COLOURS)] for rank, layer in enumerate(layers)}
