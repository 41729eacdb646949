"""A codebook for each chosen layer of a trained encoder: the tokenizer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semtok.checkpoint import ENCODER, read_encoder
from semtok.hub import resolve
from semtok.modules.encoder import Encoder
from semtok.tokenizer import Tokenizer
from semtok.training.config import KMeansConfig
from semtok.training.data import Corpus, load_corpus
from semtok.training.kmeans import KMeans
from semtok.training.run import Run, best_device, steps_with_progress


def train_kmeans(config: KMeansConfig) -> None:
    """Fits the codebooks and saves a tokenizer to `<folder>/tokenizer`."""
    run, device = Run(config.folder), best_device()
    source = resolve(config.encoder, revision=config.encoder_revision)
    model = read_encoder(source, max(config.layers))
    if config.half_precision and source.folder is not None:
        model = model.half().float()
    encoder = Encoder(model, normalize=config.normalize).to(device)
    corpus = load_corpus(config.data, run.folder.parent / "audio", sample_rate=encoder.sample_rate)
    features = collect_features(encoder, corpus, config)
    centroids = {}
    for layer, size, points in zip(config.layers, config.codebook_sizes, features, strict=True):
        kmeans = KMeans(size, iterations=config.iterations, seed=config.seed).fit(points.to(device).float())
        fitted = kmeans.centroids_.cpu()
        centroids[layer] = fitted.half().float() if config.half_precision else fitted
        used = torch.bincount(kmeans.predict(points.to(device).float()), minlength=size)
        share = used / used.sum()
        entropy = float(-(share * share.clamp(min=1e-12).log2()).sum())
        explained = 1 - kmeans.inertia_ / float(points.float().var(0, correction=0).sum())
        run.log(layer, inertia=kmeans.inertia_, explained_variance=explained, entropy_bits=entropy)
    tokenizer = Tokenizer.from_centroids(
        model,
        centroids,
        normalize=config.normalize,
        encoder=ENCODER if source.folder else config.encoder,
        encoder_revision=None if source.folder else config.encoder_revision,
    )
    tokenizer.save_pretrained(run.folder / "tokenizer")


def collect_features(encoder: Encoder, corpus: Corpus, config: KMeansConfig) -> list[Tensor]:
    """Features of random clips, `hours` in all: float16 [frames, dim] for each layer."""
    device = next(encoder.parameters()).device
    order = np.random.default_rng(config.seed).permutation(len(corpus))
    hours = np.cumsum(corpus.lengths[order]) / encoder.sample_rate / 3600
    chosen = order[: 1 + int(np.searchsorted(hours, config.hours))]
    collected: list[list[Tensor]] = [[] for _ in config.layers]
    for step, _ in steps_with_progress(0, len(chosen), "features"):
        waveform = corpus.waveform(chosen[step - 1])[None].to(device)
        features, _ = encoder(waveform, torch.tensor([waveform.shape[1]]), config.layers)
        for kept, feature in zip(collected, features, strict=True):
            kept.append(feature[0].half().cpu())
    return [torch.cat(kept) for kept in collected]
