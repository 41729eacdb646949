"""Tables of labels: what rows of codes and layers tell of phones, words and columns of a manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from semtok.analysis.clips import PHONES, SPEAKER
from semtok.analysis.frames import Frames
from semtok.analysis.information import conditional_information, information
from semtok.analysis.labels import Labels
from semtok.analysis.layers import Value, layer_shares
from semtok.analysis.probes import Probe, probe
from semtok.analysis.tables.table import Table
from semtok.codebooks.layers import Layer
from semtok.errors import SemtokError
from semtok.support.progress import track

LabelsByName: TypeAlias = Mapping[str, Labels | SemtokError]
"""Labels of the frames, or the error that says why they are missing."""


def information_table(frames: Frames, labels: LabelsByName) -> Table:
    """`Information` of each row about each label, and about the speaker given the phone."""
    present, notes = _present(labels)
    rows = []
    for of in present:
        for number, row in enumerate(_rows(frames)):
            measured = information(of.labels, frames.codes[number, of.frames], of.groups)
            rows.append({"label": of.name} | row | dataclasses.asdict(measured))
    phones, speakers = labels[PHONES], labels.get(SPEAKER)
    if isinstance(phones, Labels) and isinstance(speakers, Labels):
        rows += _speakers_given_phones(frames, phones, speakers)
    return Table(rows, notes)


def _speakers_given_phones(frames: Frames, phones: Labels, speakers: Labels) -> list[dict[str, Any]]:
    both, of_phones, of_speakers = np.intersect1d(phones.frames, speakers.frames, return_indices=True)
    if len(both) == 0:
        return []
    phone, speaker = phones.labels[of_phones], speakers.labels[of_speakers]
    speaker_bits, _ = conditional_information(speaker, speaker, phone)
    undefined = dict.fromkeys(("held_out", "purity", "cluster_purity"), float("nan"))
    rows = []
    for number, row in enumerate(_rows(frames)):
        bits, bias = conditional_information(speaker, frames.codes[number, both], phone)
        normalized = bits / speaker_bits if speaker_bits else float("nan")
        measured = {"entropy": speaker_bits, "bits": bits, "bias": bias, "normalized": normalized}
        rows.append({"label": "speaker given phone"} | row | measured | undefined)
    return rows


def probe_table(frames: Frames, labels: LabelsByName, seed: int) -> Table:
    """`Probe` of a linear probe on each layer, and on all of them, for each label."""
    present, notes = _present(labels)
    layers = tuple(frames.codebooks)
    sets = [*((layer,) for layer in layers), *([layers] if len(layers) > 1 else [])]
    jobs = [(of, subset) for of in present for subset in sets]
    rows = []
    for of, subset in track(jobs, "probing", len(jobs)):
        chance = float(np.bincount(of.labels).max()) / len(of.labels)
        measured = probe_layers(frames, of, subset, seed, linear=True)
        row = {"label": of.name, "layers": list(subset), "labels": len(of.names), "chance": chance}
        rows.append(row | dataclasses.asdict(measured))
    return Table(rows, notes)


def share_table(frames: Frames, labels: LabelsByName, values: Mapping[str, Value], seed: int) -> Table:
    """`Share` of each layer in what all layers tell of each label, by its `values`."""
    present, notes = _present(labels)
    layers = tuple(frames.codebooks)
    if len(layers) < 2:
        return Table(notes=["There is one layer only."])
    rows = []
    for of in track(present, "sharing out", len(present)):
        shares = layer_shares(layers, values[of.name], seed=seed)
        rows += [{"label": of.name, "layer": layer} | dataclasses.asdict(shares[layer]) for layer in layers]
    return Table(rows, notes)


def probe_layers(frames: Frames, labels: Labels, layers: Sequence[Layer], seed: int, *, linear: bool = False) -> Probe:
    """What a probe on all stages of some layers tells of a label."""
    rows = frames.rows_of(layers)
    sizes = [frames.codebooks.sizes[row] for row in rows]
    codes = frames.codes[rows][:, labels.frames]
    return probe(codes, labels.labels, labels.groups, sizes, linear=linear, seed=seed)


def _present(labels: LabelsByName) -> tuple[list[Labels], list[str]]:
    """Labels there are, and sentences about those that are missing."""
    present = [of for of in labels.values() if isinstance(of, Labels)]
    notes = [f"Without {name}: {error}." for name, error in labels.items() if isinstance(error, SemtokError)]
    return present, notes + [note for of in present for note in of.notes]


def _rows(frames: Frames) -> list[dict[str, Any]]:
    names, sizes = frames.codebooks.names, frames.codebooks.sizes
    return [{"row": name, "codebook_size": size} for name, size in zip(names, sizes, strict=True)]
