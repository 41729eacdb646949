"""An encoder's features of a corpus, in parts that fit in memory, divided among processes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.lengths import frame_mask
from semtok.codebooks.segmentation import Segmentation
from semtok.encoder.encoder import Encoder
from semtok.networks.sequences import plan_batches
from semtok.support.arrays import Integers
from semtok.support.progress import steps_with_progress
from semtok.training.data.corpus import Corpus

LONGEST_SECONDS = 30
"""Longer clips are cut into equal pieces, as the encoder's memory grows with the square of a clip's length."""


class Piece(NamedTuple):
    """Samples start ... start + samples - 1 of a clip of the corpus."""

    clip: int
    start: int
    samples: int


def draw_pieces(lengths: Integers, sample_rate: int, hours: float | None, seed: int) -> list[Piece]:
    """Pieces of clips of these lengths [samples] in random order, `hours` of them in all, or all of all clips."""
    order = np.random.default_rng(seed).permutation(len(lengths))
    if hours is not None:
        order = order[: 1 + int(np.searchsorted(np.cumsum(lengths[order]), hours * 3600 * sample_rate))]
    pieces = []
    for clip in order.tolist():
        samples = int(lengths[clip])
        count = -(-samples // (LONGEST_SECONDS * sample_rate))
        edges = [samples * number // count for number in range(count + 1)]
        pieces += [Piece(clip, start, end - start) for start, end in itertools.pairwise(edges)]
    return pieces


def split_parts(
    pieces: Sequence[Piece], encoder: Encoder, part_frames: int, batch_seconds: float
) -> list[list[list[Piece]]]:
    """Parts of about `part_frames` frames each, which are divided into batches of pieces of similar length."""
    ends = np.cumsum([encoder.frame_count(piece.samples) for piece in pieces])
    count = -(-int(ends[-1]) // part_frames)
    part_of = ((ends - 1) * count // ends[-1]).tolist()
    parts: list[list[Piece]] = [[] for _ in range(count)]
    for piece, part in zip(pieces, part_of, strict=True):
        parts[part].append(piece)
    budget = round(batch_seconds * encoder.sample_rate)
    return [
        [[part[number] for number in batch] for batch in plan_batches([piece.samples for piece in part], budget)]
        for part in parts
        if part
    ]


def share(batches: Sequence[list[Piece]], process: int, processes: int) -> list[list[Piece]]:
    """The consecutive batches that one of several processes works on; processes divide all batches in their order."""
    return list(batches[process * len(batches) // processes : (process + 1) * len(batches) // processes])


def encode_batch(
    encoder: Encoder,
    corpus: Corpus,
    batch: Sequence[Piece],
    layers: Sequence[int],
    segmentation: Segmentation | None = None,
) -> list[Tensor]:
    """Features [frames, dim] of each layer, for all frames of the pieces in their order, without padding.

    With a segmentation, the means [segments, dim] of the one layer, of unit length if it is spherical.
    """
    device = next(encoder.parameters()).device
    waveforms = [corpus.waveform(*piece) for piece in batch]
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    padded = pad_sequence(waveforms, batch_first=True).to(device)
    if segmentation is not None:
        assert segmentation.boundary_layer is not None
        features, frames = encoder(padded, lengths, [*layers, segmentation.boundary_layer])
        clips = zip(features, frames.tolist(), strict=True)
        means = torch.cat([segmentation.means(content[:end], boundary[:end])[0] for (content, boundary), end in clips])
        return [normalize(means) if segmentation.spherical else means]
    features, frames = encoder(padded, lengths, layers)
    valid = frame_mask(frames, features.shape[2])
    return [feature[valid] for feature in features.unbind(1)]


def collect_features(
    encoder: Encoder,
    corpus: Corpus,
    batches: Sequence[Sequence[Piece]],
    layers: Sequence[int],
    segmentation: Segmentation | None = None,
    *,
    visible: bool,
) -> list[Tensor]:
    """Features float16 [frames, dim] of each layer, for all frames of all batches in their order, on the CPU.

    With a segmentation, the means of segments as in `encode_batch`, fewer than there are frames. The encoder runs once
    for all layers. `visible` shows a progress bar.
    """
    frames = sum(encoder.frame_count(piece.samples) for batch in batches for piece in batch)
    collected, end = [torch.empty(frames, encoder.dim, dtype=torch.float16) for _ in layers], 0
    for step, _ in steps_with_progress(0, len(batches), "features", visible=visible):
        encoded = encode_batch(encoder, corpus, batches[step - 1], layers, segmentation)
        start, end = end, end + len(encoded[0])
        for all_features, features in zip(collected, encoded, strict=True):
            all_features[start:end] = features
    return [features[:end] for features in collected]
