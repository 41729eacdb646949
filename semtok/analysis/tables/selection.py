"""The table of a selection: the best 1, 2, 3 ... layers for a purpose; and which of them to recommend, and why."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from semtok.analysis.layers import Subset, Value
from semtok.analysis.resynthesis import ResynthesisQuality, Waveform
from semtok.analysis.selection import Choice, knee, select_layers
from semtok.analysis.tables.table import Table
from semtok.codebooks.layers import Layer
from semtok.errors import SemtokError
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder

_MOST_LAYERS = 6
# Of STOI or of bits a frame; what an untrained encoder tells of a speaker is less.
_LEAST = 0.02


def selection_table(
    tokenizer: Tokenizer,
    quality: Value,
    unit: str,
    interval: Callable[[Subset], Sequence[float]],
    layers: Sequence[Layer] | None = None,
) -> Table:
    """`select_layers` of these layers (all by default) by a quality in some unit, and which set is the knee.

    `interval` says how sure the quality of a set is: its lower and upper end.
    """
    codebooks, rate = tokenizer.codebooks, tokenizer.frame_rate
    choices = select_layers(
        tokenizer.layers if layers is None else layers,
        quality,
        lambda subset: rate * codebooks.select(subset, owner="the tokenizer").bits,
        most=_MOST_LAYERS,
    )
    chosen = knee(choices)
    return Table(
        [
            {"count": len(choice.layers)}
            | dataclasses.asdict(choice)
            | {"layers": list(choice.layers), "unit": unit, "knee": choice == chosen}
            | dict(zip(("low", "high"), interval(choice.layers), strict=True))
            for choice in choices
        ]
    )


def resynthesis_table(tokenizer: Tokenizer, vocoder: Vocoder, excerpts: Sequence[Waveform]) -> Table:
    """The layers from which waveforms are decoded best, by STOI, and the log-mel distance of each set.

    Raises:
        SemtokError: no waveforms.
    """
    if not excerpts:
        raise SemtokError("no clip is longer than half a second, so that resynthesis cannot be judged")
    quality = ResynthesisQuality(tokenizer, vocoder, excerpts)
    table = selection_table(tokenizer, lambda layers: quality(layers)[0], "STOI", quality.interval, vocoder.layers)
    return Table([row | {"log_mel_distance": quality(tuple(row["layers"]))[1]} for row in table.rows])


def recommend(table: Table, purpose: str, *, count: int | None = None) -> str:
    """What a table of `Study.selection` recommends and why, in a sentence; of `count` layers, or the knee.

    Of several codebook sizes (a column `codebook_size`, see `compare`) the knee is that of all their choices together.
    """
    best = max(table.rows, key=lambda row: (row["quality"], -row["bitrate"]))
    if best["quality"] < _LEAST or best.get("low", math.nan) <= 0:
        return f"For {purpose}: no layer tells anything of it here."
    chosen = _knee(table.rows if count is None else table.of(count=count))
    text = (
        f"For {purpose}: {_names(chosen)}, "
        f"{chosen['quality']:.3g} {chosen['unit']}{_sure(chosen)} at {chosen['bitrate'] / 1000:.2f} kbit/s"
    )
    if chosen is best:
        return f"{text}. No other set that was tried has more on these clips."
    return (
        f"{text}: {chosen['quality'] / best['quality']:.0%} of the best ({_names(best)}) "
        f"at {chosen['bitrate'] / best['bitrate']:.0%} of its bitrate."
    )


def _knee(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The knee of the rows that no other one beats in quality at the same bitrate or less."""
    frontier: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["bitrate"], -row["quality"])):
        if not frontier or row["quality"] > frontier[-1]["quality"]:
            frontier.append(row)
    choices = [Choice(tuple(row["layers"]), row["quality"], row["bitrate"]) for row in frontier]
    return frontier[choices.index(knee(choices))]


def _sure(row: dict[str, Any]) -> str:
    low, high = row.get("low", math.nan), row.get("high", math.nan)
    return "" if math.isnan(low) else f" ({low:.3g} to {high:.3g})"


def _names(row: dict[str, Any]) -> str:
    layers = f"layer{'s' if len(row['layers']) > 1 else ''} {', '.join(map(str, row['layers']))}"
    return f"{layers} with K = {row['codebook_size']}" if "codebook_size" in row else layers
