"""Tokenizers of any encoder, to study it: k-means of several sizes on every layer, in one pass over the audio."""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semtok.analysis.frames import read_features
from semtok.checkpoints.config import CONFIG, ENCODER
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.importing import normalizes
from semtok.codebooks.layers import Layer, check_layers
from semtok.encoder.encoder import Encoder
from semtok.errors import CheckpointError, SemtokError
from semtok.speech.reading import Speech
from semtok.support.progress import progress_bar
from semtok.tokenizer import Tokenizer
from semtok.training.kmeans.kmeans import POINTS_A_CLUSTER, KMeans

# Of the features that are held at a time, all layers together. What fits is clustered by Lloyd's iterations, more in
# parts of this size, by mini-batches.
_MEMORY_BYTES = 2**30


def is_encoder(source: Repository) -> bool:
    """Whether a repository holds an encoder in the layout of transformers, and no tokenizer.

    Raises:
        CheckpointError: the hub has no such repository, or cannot be asked.
    """
    if source.find(CONFIG) is None:
        return False
    entries = source.read_json(CONFIG)
    return "model_type" in entries and "format_version" not in entries


def fit_tokenizers(
    source: Repository,
    audio: str | os.PathLike[str],
    folder: Path,
    *,
    codebook_sizes: Sequence[int],
    layers: Sequence[Layer] | None = None,
    normalize: bool | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> list[Tokenizer]:
    """Tokenizers of an encoder with one codebook a layer, one for each codebook size, fitted to all clips.

    They are kept in `folder`, and taken from there.

    Args:
        source: of the encoder.
        audio: name of a source of speech, for `semtok.speech.sources.open_source`.
        folder: the tokenizer of each encoder, codebook size and set of clips gets a folder in it.
        codebook_sizes: one for each tokenizer, the same for all of its layers.
        layers: from 0 to the encoder's last; 1 to the last by default.
        normalize: whether the encoder takes input of zero mean and unit variance; its preprocessor_config.json says so
            by default.
        device: where encoder and k-means run.
        seed: of the order of the clips and of the k-means.

    Raises:
        CheckpointError: files of the encoder are missing or corrupt, or it is of no supported family.
        LayerError: a layer that the encoder lacks.
        AudioError: no audio.
        SemtokError: fewer frames than codes.
    """
    depth = source.read_json(CONFIG).get("num_hidden_layers")
    if not isinstance(depth, int):
        raise CheckpointError(f"{source.name} is no encoder: its {CONFIG} has no num_hidden_layers")
    wanted = range(1, depth + 1) if layers is None else layers
    chosen = check_layers(wanted, range(depth + 1), owner=f"the encoder {source.name}")
    normalized = normalizes(source) if normalize is None else normalize
    speech, seed = Speech([os.fspath(audio)]), operator.index(seed)
    targets = {
        size: folder / f"tokenizer-{_identity(source, speech, size, chosen, normalized, seed)}"
        for size in map(operator.index, codebook_sizes)
    }
    if missing := {size: target for size, target in targets.items() if not (target / CONFIG).exists()}:
        model = read_encoder(source, max(chosen))
        encoder = Encoder(model, normalize=normalized).to(device)
        fitted = _fit(encoder, speech, chosen, list(missing), seed)
        local = source.folder is not None
        for target, centroids in zip(missing.values(), fitted, strict=True):
            Tokenizer.from_centroids(
                model.cpu(),
                dict(zip(chosen, centroids, strict=True)),
                normalize=normalized,
                encoder=ENCODER if local else source.name,
                encoder_revision=None if local else source.commit,
            ).save_pretrained(target)
    return [
        Tokenizer.from_pretrained(target, device=device, local_files_only=source.local_files_only)
        for target in targets.values()
    ]


def _identity(source: Repository, speech: Speech, *settings: object) -> str:
    """Of what a tokenizer is fitted to and how."""
    weights = [] if source.folder is None else [(p.name, p.stat().st_mtime_ns) for p in sorted(source.folder.iterdir())]
    parts = [str(source), weights, speech.stamps, *settings]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _fit(
    encoder: Encoder, speech: Speech, layers: Sequence[int], codebook_sizes: Sequence[int], seed: int
) -> list[list[Tensor]]:
    """Centroids [codebook_size, dim] of each layer, for each codebook size, on the CPU."""
    largest = max(codebook_sizes)
    most = max(_MEMORY_BYTES // (2 * encoder.dim * len(layers)), POINTS_A_CLUSTER * largest)
    fits = [[KMeans(size, seed=seed) for size in codebook_sizes] for _ in layers]
    parts: list[Tensor] = []
    frames = clustered = 0
    order = np.random.default_rng(seed).permutation(len(speech)).tolist()
    opened = ((number, recording) for number, _, recording in speech.recordings(encoder.sample_rate, order))
    with progress_bar("clustering", len(order)) as bar:
        for _, of_clip in groupby(read_features(encoder, opened, layers), itemgetter(0)):
            for _, features in of_clip:
                if isinstance(features, Tensor):
                    parts.append(features.half())
                    frames += features.shape[1]
                if frames >= most:
                    _cluster(fits, parts, whole=False)
                    clustered, frames, parts = clustered + frames, 0, []
            bar.advance()
    if clustered + frames < largest:
        raise SemtokError(
            f"{clustered + frames} frames of speech cannot make {largest} clusters: "
            "give more audio, or a smaller codebook size"
        )
    if parts:
        _cluster(fits, parts, whole=clustered == 0)
    return [[kmeans.centroids_.cpu() for kmeans in of_size] for of_size in zip(*fits, strict=True)]


def _cluster(fits: Sequence[Sequence[KMeans]], parts: Sequence[Tensor], *, whole: bool) -> None:
    """Fits the k-means of each layer to parts [layers, frames, dim], which are all there are or some of them."""
    for layer, of_layer in enumerate(fits):
        points = torch.cat([part[layer] for part in parts])
        for kmeans in of_layer:
            if whole:
                kmeans.fit(points)
            else:
                kmeans.partial_fit(points)
