"""The small networks of `information.py`: what can be told of a spectrum from vectors, and of a token from others."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.codebooks.quantizer import Quantizer
from semtok.networks.convnext import ConvNeXtBlock
from semtok.support.progress import steps_with_progress

_WIDTH = 192
_CROP = 128
_CROPS = 16
# Frames at the ends of a crop see less context than the others, and are not learned from.
_EDGE = 8
_BATCH = 1024


class Decoder(nn.Module):
    """Vectors [batch, frames, dim] -> log-mel patches [batch, frames, bands], from 19 frames around."""

    def __init__(self, dim: int, bands: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(dim, _WIDTH, 7, padding=3)
        self.blocks = nn.Sequential(ConvNeXtBlock(_WIDTH, 512, 0.5), ConvNeXtBlock(_WIDTH, 512, 0.5))
        self.leave = nn.Sequential(nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, bands))

    def forward(self, vectors: Tensor) -> Tensor:
        patches: Tensor = self.leave(self.blocks(self.enter(vectors.transpose(1, 2)).transpose(1, 2)))
        return patches


def decode(fit: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], steps: int) -> tuple[float, float]:
    """What a small decoder learns: explained variance and mean absolute error of the test patches.

    `fit` and `test` are vectors [frames, dim] and log-mel patches [frames, bands].
    """
    vectors, patches = fit
    centre, scale = vectors.mean(0), vectors.std(0) + 1e-3
    mean, spread = patches.mean(0), patches.std()
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = Decoder(vectors.shape[1], patches.shape[1])
    optimizer = torch.optim.AdamW(decoder.parameters(), 2e-3, betas=(0.8, 0.99))
    for step, show in steps_with_progress(0, steps, "decoder"):
        optimizer.param_groups[0]["lr"] = 2e-3 * _rate(step, steps)
        starts = torch.randint(0, len(vectors) - _CROP, (_CROPS, 1), generator=generator)
        frames = starts + torch.arange(_CROP)
        with torch.autocast("cpu", torch.bfloat16):
            made = decoder((vectors[frames] - centre) / scale).float()
        loss = (made - (patches[frames] - mean) / spread)[:, _EDGE:-_EDGE].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        show(loss=float(loss.detach()))
    vectors, patches = test
    with torch.no_grad():
        made = decoder(((vectors - centre) / scale)[None])[0] * spread + mean
    left, all_ = (patches - made).square().sum(), (patches - mean).square().sum()
    return 1 - float(left / all_), float((patches - made).abs().mean())


class Guess(nn.Module):
    """Vectors [batch, dim] -> logits [batch, codebook_size], at first by the distance of a vector to the centroids."""

    def __init__(self, dim: int, centroids: Tensor) -> None:
        super().__init__()
        centred = centroids - centroids.mean(0)
        # Cells are about as wide as the centroids' nearest neighbours are far.
        width = torch.cdist(centred, centred).fill_diagonal_(math.inf).amin(1).square().mean()
        self.hidden = nn.Sequential(nn.Linear(dim, 512), nn.GELU(), nn.Linear(512, 512), nn.GELU())
        self.vector = nn.Linear(512, centroids.shape[1])
        self.logits = nn.Linear(*centroids.T.shape)
        with torch.no_grad():
            self.logits.weight.copy_(centred / width)
            self.logits.bias.copy_(-centred.square().sum(1) / width / 2)

    def forward(self, vectors: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.vector(self.hidden(vectors)))
        return logits


def entropy(fit: Tensor, test: Tensor, size: int) -> float:
    """Bits of a code without context: the cross-entropy of test codes [frames] by the frequencies of others."""
    counts = torch.bincount(fit, minlength=size) + 0.5
    return float(-(counts / counts.sum()).log2()[test].mean())


def conditional_entropy(
    fit: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], centroids: Tensor, steps: int
) -> float:
    """Bits of a code given the other codes of its frame, from above: a classifier's cross-entropy on test frames.

    `fit` and `test` are the other codes' centroids [frames, dim] and the code [frames] of `centroids`.
    """
    vectors, codes = fit
    centre, scale = vectors.mean(0), vectors.std(0) + 1e-3
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        guess = Guess(vectors.shape[1], centroids)
    optimizer = torch.optim.AdamW(guess.parameters(), 2e-3, weight_decay=0.05)
    for step, show in steps_with_progress(0, steps, "classifier"):
        optimizer.param_groups[0]["lr"] = 2e-3 * _rate(step, steps)
        frames = torch.randint(0, len(vectors), (_BATCH,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = guess((vectors[frames] - centre) / scale)
        loss = F.cross_entropy(logits.float(), codes[frames])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        show(bits=float(loss.detach()) / math.log(2))
    with torch.no_grad():
        return float(F.cross_entropy(guess((test[0] - centre) / scale), test[1])) / math.log(2)


def _rate(step: int, steps: int) -> float:
    """Warm-up, then a cosine to nearly zero."""
    return min(1.0, step / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)


class ResidualStages:
    """k-means of each layer, stage by stage: `estimates` [frames, layers, dim] of fit and test features so far."""

    def __init__(self, fit: Tensor, test: Tensor, size: int) -> None:
        self.size, self.stages = size, 0
        self._features, self._left = (fit, test), (fit.clone(), test.clone())

    @property
    def estimates(self) -> tuple[Tensor, Tensor]:
        return self._features[0] - self._left[0], self._features[1] - self._left[1]

    def add(self) -> None:
        """One more stage."""
        from semtok.training.kmeans.kmeans import KMeans

        for layer in range(self._features[0].shape[1]):
            points = self._left[0][:, layer].contiguous()
            quantizer = Quantizer(KMeans(self.size, iterations=6, seed=self.stages).fit(points).centroids_)
            for left in self._left:
                left[:, layer] -= quantizer.centroids[quantizer(left[:, layer])]
        self.stages += 1
