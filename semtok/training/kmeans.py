"""k-means in torch: k-means++ start, Lloyd iterations, empty clusters moved to the worst-served points."""

from __future__ import annotations

import torch
from torch import Tensor

from semtok.modules.quantizer import Quantizer


class KMeans:
    """k-means with scikit-learn's manners: `fit` returns self, learned attributes end in an underscore.

    Args:
        codebook_size: number of clusters K.
        iterations: Lloyd iterations at most; it stops early once the inertia falls by less than `tolerance`.
        seed: of the k-means++ start (Arthur and Vassilvitskii, 2007).
        tolerance: relative fall of the inertia below which the fit has converged.

    Attributes:
        centroids_: float32 [codebook_size, dim].
        inertia_: mean squared distance of a point to its centroid.
    """

    centroids_: Tensor
    inertia_: float

    def __init__(self, codebook_size: int, *, iterations: int = 30, seed: int = 0, tolerance: float = 1e-4) -> None:
        self.codebook_size = codebook_size
        self.iterations = iterations
        self.seed = seed
        self.tolerance = tolerance

    def fit(self, points: Tensor) -> KMeans:
        """Fits the centroids to `points` [points, dim].

        Raises:
            ValueError: if there are fewer points than clusters.
        """
        if len(points) < self.codebook_size:
            raise ValueError(f"{len(points)} points cannot make {self.codebook_size} clusters: give more audio")
        generator = torch.Generator().manual_seed(self.seed)
        # Ten points a cluster keep the quality of the start and bound its K passes over the data.
        start = points[torch.randperm(len(points), generator=generator)[: 10 * self.codebook_size].to(points.device)]
        self.centroids_ = self._plus_plus(start, generator)
        self.inertia_ = float("inf")
        for _ in range(self.iterations):
            previous, self.inertia_ = self.inertia_, self._iterate(points)
            if self.inertia_ > (1 - self.tolerance) * previous:
                break
        return self

    def predict(self, points: Tensor) -> Tensor:
        """int64 [points]: the nearest centroid of each of `points` [points, dim]."""
        codes: Tensor = Quantizer(self.centroids_)(points)
        return codes

    def _plus_plus(self, points: Tensor, generator: torch.Generator) -> Tensor:
        first = int(torch.randint(len(points), (1,), generator=generator))
        chosen = [first]
        distances = (points - points[first]).square().sum(1)
        for _ in range(self.codebook_size - 1):
            weights = distances.double().cpu().cumsum(0)
            draw = torch.rand((), generator=generator, dtype=torch.float64) * weights[-1]
            chosen.append(int(torch.searchsorted(weights, draw).clamp(max=len(points) - 1)))
            distances = torch.minimum(distances, (points - points[chosen[-1]]).square().sum(1))
        return points[chosen].clone()

    def _iterate(self, points: Tensor) -> float:
        codes = self.predict(points)
        distances = torch.cat(
            [
                (p - self.centroids_[c]).square().sum(1)
                for p, c in zip(points.split(65536), codes.split(65536), strict=True)
            ]
        )
        counts = torch.bincount(codes, minlength=self.codebook_size)
        sums = torch.zeros_like(self.centroids_).index_add_(0, codes, points)
        self.centroids_ = sums / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        self.centroids_[empty] = points[distances.topk(len(empty)).indices]
        return float(distances.double().mean())
