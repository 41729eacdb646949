"""The table of ABX errors: of the tokens of each layer, and of its features, which some clips give once more."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semtok.analysis.abx import Example, Triplets, abx_error, angle, draw_triplets, find_examples
from semtok.analysis.clips import PHONES, Tiers
from semtok.analysis.frames import Frames, read_features
from semtok.analysis.tables.table import Table
from semtok.codebooks.layers import Layer
from semtok.errors import AudioError
from semtok.speech.reading import Speech
from semtok.support.progress import track
from semtok.tokenizer import Tokenizer

_CLIPS = 60
_BYTES = 2**29  # of the features of all of them
# With fewer triplets in the same context, contexts are not compared.
_FEW_TRIPLETS = 100


def abx_table(tokenizer: Tokenizer, speech: Speech, tiers: Tiers, frames: Frames, seed: int) -> Table:
    """`abx_error` of phones by layer, within and across speakers, on tokens and on features of up to 60 clips."""
    phones = tiers.get(PHONES, {})
    aligned = [number for number in np.unique(frames.clips).tolist() if number in phones]
    if not aligned:
        return Table(notes=["No clip has phones: give them by --alignments, or as a column of the manifest."])
    chosen = _choose_clips(tokenizer, frames, aligned, seed)
    inside = np.isin(frames.clip_of, chosen)
    examples = [example for example in find_examples(frames, speech.clips, phones) if inside[example.start]]
    features = _features_of(tokenizer, speech, frames, chosen, examples)
    rows, notes = [], []
    for across, where in ((False, "within"), (True, "across")):
        triplets, context = draw_triplets(examples, across=across, seed=seed), "same"
        if len(triplets.examples) < _FEW_TRIPLETS:
            triplets, context = draw_triplets(examples, across=across, context=False, seed=seed), "any"
            if len(triplets.examples) == 0:
                notes.append(f"Too few examples of phones {where} speakers.")
                continue
            notes.append(f"Too few phones in the same context {where} speakers: contexts are not compared there.")
        for place, layer in enumerate(tokenizer.layers):
            of_layer = [features[example.start][place].astype(np.float32) for example in examples]
            rows.append(
                {"layer": layer, "speakers": where, "context": context, "triplets": len(triplets.examples)}
                | {"tokens": _error(triplets, _centroids_of(tokenizer, frames, layer, examples))}
                | {"features": _error(triplets, of_layer)}
            )
    return Table(rows, notes)


def _error(triplets: Triplets, points: Sequence[npt.NDArray[np.float32]]) -> float:
    return abx_error(triplets, points, angle)


def _choose_clips(tokenizer: Tokenizer, frames: Frames, aligned: Sequence[int], seed: int) -> list[int]:
    """So many clips at random that their features fit into memory."""
    drawn = np.random.default_rng(seed).permutation(aligned)[:_CLIPS]
    sizes = frames.lengths[np.searchsorted(frames.clips, drawn)] * 2 * len(tokenizer.layers) * tokenizer.encoder.dim
    chosen: list[int] = np.sort(drawn[: max(1, int((np.cumsum(sizes) <= _BYTES).sum()))]).tolist()
    return chosen


def _centroids_of(
    tokenizer: Tokenizer, frames: Frames, layer: Layer, examples: Sequence[Example]
) -> list[npt.NDArray[np.float32]]:
    """What the tokens of examples stand for, all stages of a layer: [frames, dim] each."""
    codes = torch.from_numpy(frames.codes[frames.rows_of([layer])].T)
    quantizer = tokenizer.network.quantizer(layer)
    of_examples = (codes[example.start : example.stop].to(tokenizer.device) for example in examples)
    return [quantizer.embed(codes).cpu().numpy() for codes in of_examples]


def _features_of(
    tokenizer: Tokenizer,
    speech: Speech,
    frames: Frames,
    chosen: Sequence[int],
    examples: Sequence[Example],
) -> dict[int, npt.NDArray[np.float16]]:
    """Features [layers, frames, dim] of examples of the chosen clips, by the frame that they start with."""
    first_frames = dict(zip(frames.clips.tolist(), np.cumsum(frames.lengths) - frames.lengths, strict=True))
    starts = sorted(example.start for example in examples)
    stops = {example.start: example.stop for example in examples}
    features = {}
    opened = ((number, recording) for number, _, recording in speech.recordings(tokenizer.sample_rate, chosen))
    windows = read_features(tokenizer.encoder, opened, tokenizer.layers)
    for number, of_clip in track(groupby(windows, itemgetter(0)), "features", len(chosen)):
        points, begin = torch.cat([_checked(window) for _, window in of_clip], dim=1), int(first_frames[number])
        for start in starts[bisect_left(starts, begin) : bisect_left(starts, begin + points.shape[1])]:
            features[start] = points[:, start - begin : stops[start] - begin].numpy()
    return features


def _checked(features: Tensor | AudioError) -> Tensor:
    if isinstance(features, AudioError):
        raise features
    return features.half().cpu()
