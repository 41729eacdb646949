"""A codebook for each chosen layer of a trained encoder: the tokenizer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semtok.checkpoint import read_encoder
from semtok.hub import resolve
from semtok.modules.encoder import Encoder
from semtok.tokenizer import Tokenizer
from semtok.training.config import KMeansConfig
from semtok.training.data import Corpus, load_corpus
from semtok.training.kmeans import KMeans
from semtok.training.run import Run, best_device, steps_with_progress


def train_kmeans(config: KMeansConfig) -> None:
    """Fits the codebooks and saves a tokenizer to `<folder>/tokenizer`.

    Encoder and centroids are rounded to half precision first, so that the saved files hold exactly what was used here.
    """
    run, device = Run(config.folder), best_device()
    model = read_encoder(resolve(config.encoder), max(config.layers)).half().float()
    encoder = Encoder(model, normalize=config.normalize).to(device)
    corpus = load_corpus(config.data, run.folder.parent / "audio", sample_rate=encoder.sample_rate)
    features = collect_features(encoder, corpus, config)
    centroids = {}
    for layer, size, points in zip(config.layers, config.codebook_sizes, features, strict=True):
        kmeans = KMeans(size, iterations=config.iterations, seed=config.seed).fit(points.to(device).float())
        centroids[layer] = kmeans.centroids_.cpu().half().float()
        used = torch.bincount(kmeans.predict(points.to(device).float()), minlength=size)
        share = used / used.sum()
        entropy = float(-(share * share.clamp(min=1e-12).log2()).sum())
        explained = 1 - kmeans.inertia_ / float(points.float().var(0, correction=0).sum())
        run.log(layer, inertia=kmeans.inertia_, explained_variance=explained, entropy_bits=entropy)
        print(f"layer {layer}: {explained:.1%} of the variance explained, {entropy:.2f} bits of {np.log2(size):.2f}")
    Tokenizer.from_centroids(model, centroids, normalize=config.normalize).save_pretrained(run.folder / "tokenizer")


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

