"""Tables of the codes: what they look like, what they share between layers, and how well they keep."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from semtok.analysis.cca import pwcca
from semtok.analysis.codes import code_statistics
from semtok.analysis.frames import Frames
from semtok.analysis.layers import information_matrix
from semtok.analysis.stability import stability
from semtok.analysis.tables.table import Table
from semtok.audio.disturbances import Waveform
from semtok.support.progress import track
from semtok.tokenizer import Tokenizer

_FEW_FRAMES = 20
"""Frames a code, below which counts of codes say little."""


def codes_table(frames: Frames) -> Table:
    """`CodeStatistics` of each row, and the variance that it leaves unexplained."""
    layer_of = {row: layer for layer, rows in frames.codebooks.rows.items() for row in range(rows.start, rows.stop)}
    rows = [
        {"row": name, "layer": layer_of[number]}
        | dataclasses.asdict(code_statistics(frames.codes[number], frames.lengths, size, frames.frame_rate))
        | {"unexplained": frames.unexplained[number]}
        for number, (name, size) in enumerate(zip(frames.codebooks.names, frames.codebooks.sizes, strict=True))
    ]
    count, largest = frames.codes.shape[1], max(frames.codebooks.sizes)
    notes = [f"Left out: {reason}" for reason in frames.left_out]
    if count < _FEW_FRAMES * largest:
        notes.append(
            f"{count} frames ({count / frames.frame_rate:.0f} s) are few for a codebook of {largest}: the use of "
            "codes, perplexity and entropy come out too low, and held-out information as well. "
            f"{_FEW_FRAMES} frames a code would be {_FEW_FRAMES * largest / frames.frame_rate:.0f} s."
        )
    return Table(rows, notes)


def stability_table(tokenizer: Tokenizer, excerpts: Sequence[Waveform]) -> Table:
    """Unit edit distance of each row on some waveforms under each of `CONDITIONS`."""
    if not excerpts:
        return Table(notes=["No clip is longer than half a second."])
    distances = stability(tokenizer, list(track(excerpts, "perturbing", len(excerpts))))
    return Table(
        [
            {"row": name} | {condition: rows[number] for condition, rows in distances.items()}
            for number, name in enumerate(tokenizer.codebooks.names)
        ]
    )


def between_table(frames: Frames) -> Table:
    """`information_matrix` of the first stages of all layers."""
    rows = frames.first_rows()
    matrix = information_matrix([frames.codes[row] for row in rows.values()], frames.groups)
    return Table(
        [
            {
                "layer": one,
                "other": other,
                "bits": matrix[i, j],
                "share": matrix[i, j] / max(min(matrix[i, i], matrix[j, j]), 1e-9),
            }
            for i, one in enumerate(rows)
            for j, other in enumerate(rows)
        ]
    )


def similarity_table(frames: Frames) -> Table:
    """`pwcca` of the features of each two layers, and of each layer and log-mel spectra."""
    views = {str(layer): features for layer, features in zip(frames.codebooks, frames.features, strict=True)}
    views["log-mel"] = frames.mels
    pairs = list(itertools.combinations_with_replacement(views, 2))
    rows = []
    try:
        for one, other in track(pairs, "correlating", len(pairs)):
            similarity = 1.0 if one == other else pwcca(views[one], views[other])
            rows.append({"view": one, "other": other, "similarity": similarity})
    except ValueError as error:
        return Table(notes=[f"{str(error)[0].upper()}{str(error)[1:]}."])
    return Table(rows)
