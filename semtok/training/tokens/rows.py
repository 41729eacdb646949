"""A row that learns: the weights of its mixture of layers, and its codebook, by gradients through the assignment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.codebooks.quantizer import Quantizer

# Of a mixture that begins with one layer.
_START_SHARE = 0.9


class Quantized(NamedTuple):
    """What a row makes of some frames.

    Args:
        vectors: float32 [frames, dim], the centroids of their codes; gradients flow to all of them, and to the mixture.
        codes: int64 [frames].
        use: the mean of their soft assignments, [codebook_size].
    """

    vectors: Tensor
    codes: Tensor
    use: Tensor


def start_weights(layers: list[int], start_layer: int | None) -> Tensor:
    """The weights [layers] that a mixture begins with: all alike, or most for one layer."""
    if start_layer is None or len(layers) == 1:
        return torch.full((len(layers),), 1 / len(layers))
    weights = torch.full((len(layers),), (1 - _START_SHARE) / (len(layers) - 1))
    weights[layers.index(start_layer)] = _START_SHARE
    return weights


class LearntRow(nn.Module):
    """A mixture of layers and a codebook of it, both trained (differentiable k-means: Onda et al., 2025).

    Args:
        weights: [layers], of sum 1, to start from.
        centroids: [codebook_size, dim] to start from.
        spread: mean squared distance of a frame to its centroid, the unit of the temperature.
        gumbel: whether codes are drawn while the module trains.
    """

    spread: Tensor
    counts: Tensor
    revived: Tensor

    def __init__(self, weights: Tensor, centroids: Tensor, spread: Tensor, *, gumbel: bool) -> None:
        super().__init__()
        self.scores = nn.Parameter(weights.log())
        self.centroids = nn.Parameter(centroids.clone())
        self.gumbel = gumbel
        self.register_buffer("spread", spread.clone())
        self.register_buffer("counts", torch.zeros(len(centroids), dtype=torch.int64))
        self.register_buffer("revived", torch.zeros((), dtype=torch.int64))

    @property
    def weights(self) -> Tensor:
        """Of each layer, [layers], at least 0 and of sum 1."""
        return self.scores.softmax(0)

    def mix(self, features: Tensor) -> Tensor:
        """Normalised features [layers, ...] -> their weighted sum [...]."""
        mixed: Tensor = torch.tensordot(self.weights, features, dims=1)
        return mixed

    def forward(self, mixed: Tensor, temperature: float) -> Quantized:
        """The codes of mixed features [frames, dim]."""
        centred = self.centroids - self.centroids.mean(0)
        distances: Tensor = centred.square().sum(1) - 2 * (mixed - self.centroids.mean(0)) @ centred.T
        logits = -distances / (self.spread * temperature)
        soft = logits.softmax(1)
        if self.gumbel and self.training:
            assigned = F.gumbel_softmax(logits, hard=True)
        else:
            hard = F.one_hot(logits.argmax(1), len(self.centroids)).to(soft.dtype)
            assigned = hard + soft - soft.detach()
        codes = assigned.detach().argmax(1)
        if self.training:
            self.counts += torch.bincount(codes, minlength=len(self.counts))
        return Quantized(assigned @ self.centroids, codes, soft.mean(0))

    @torch.no_grad()
    def revive(self, counts: Tensor, points: Tensor) -> None:
        """Moves codes that were not used to frames, and counts them and the steps anew.

        Args:
            counts: how often each code was used, by all processes, [codebook_size].
            points: mixed features of as many frames as there are codes, [codebook_size, dim].
        """
        dead = counts == 0
        self.centroids[dead] = points[dead]
        self.revived += dead.sum()
        self.counts.zero_()


@torch.no_grad()
def mean_distance(points: Tensor, centroids: Tensor) -> Tensor:
    """Mean squared distance of points [points, dim] to the nearest of centroids [codebook_size, dim]."""
    distances: Tensor = (points - centroids[Quantizer(centroids)(points)]).square().sum(1)
    return distances.mean()
