"""Which versions of a recording can be heard, and what each keeps, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer, in_order
from semtok.support.colours import layer_colours

_BITS_PER_SAMPLE = 16
_LETTERS = {"original": "O", "all": "A", "yours": "Y"}


def versions_of(codebooks: Codebooks, *, frame_rate: float, input_rate: int, sample_rate: int) -> dict[str, Any]:
    """The original, all layers, each layer alone, and those that a visitor ticks, as `semtok.listen` takes them.

    Args:
        codebooks: of the layers that can be decoded.
        frame_rate: of codes, per second.
        input_rate: of what is encoded, Hz.
        sample_rate: of what is decoded, Hz.

    Returns:
        For JSON. `layers`: number, colour, and bit/s of each stage; `versions`: key, hotkey, label, what it keeps,
        bit/s, and its layers (None for the original).
    """
    layers = in_order(codebooks.layers)
    colours = layer_colours(layers)
    bits = {
        layer: [frame_rate * math.log2(size) for size in codebooks.sizes[rows]]
        for layer, rows in codebooks.rows.items()
    }
    everything, wave = sum(sum(stages) for stages in bits.values()), float(_BITS_PER_SAMPLE * input_rate)
    versions: list[dict[str, Any]] = [
        {"key": "original", "label": "original", "keeps": "the recording itself", "bits": wave, "layers": None},
        {
            "key": "all",
            "label": "all layers",
            "keeps": "all that the tokens hold",
            "bits": everything,
            "layers": list(layers),
        },
    ]
    versions += [
        {
            "key": str(layer),
            "label": f"layer {layer}",
            "keeps": what_it_keeps(layer, layers),
            "bits": sum(bits[layer]),
            "layers": [layer],
            "colour": colours[layer],
        }
        for layer in layers
    ]
    versions.append(
        {"key": "yours", "label": "yours", "keeps": "the layers that you tick", "bits": everything, "layers": []}
    )
    for version in versions:
        key = version["key"]
        version["hotkey"] = _LETTERS.get(key) or (key if len(key) == 1 else None)
    return {
        "sample_rate": sample_rate,
        "input_rate": input_rate,
        "frame_rate": frame_rate,
        "wave_bits": wave,
        "first": str(max(_numbered(layers), default=layers[0])),
        "layers": [{"layer": layer, "colour": colours[layer], "bits": stages} for layer, stages in bits.items()],
        "versions": versions,
    }


def _numbered(layers: Sequence[Layer]) -> list[int]:
    return [layer for layer in layers if isinstance(layer, int)]


def what_it_keeps(layer: Layer, layers: Sequence[Layer]) -> str:
    """What one hears of a layer alone, by its place among all: the lowest the voice, the highest the words."""
    if isinstance(layer, str):
        return "what this mixture of layers keeps"
    numbers = _numbered(layers)
    rank = numbers.index(layer) / max(1, len(numbers) - 1)
    if len(layers) == 1:
        return "what this one layer keeps"
    if rank == 0:
        return "the voice, the melody and the room"
    if rank < 0.5:
        return "sounds and melody, less of the voice"
    if rank < 1:
        return "the words and some melody, hardly the voice"
    return "the words, hardly the voice"
