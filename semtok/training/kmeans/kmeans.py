"""k-means in torch, in one process or several: k-means++ start, mini-batches, Lloyd iterations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semtok.codebooks.quantizer import Quantizer
from semtok.training.kmeans.shared_points import SharedPoints

if TYPE_CHECKING:
    from accelerate import Accelerator

POINTS_A_CLUSTER = 10
"""Of a mini-batch, and of the sample from which the k-means++ start is drawn."""

# The t-th of T mini-batches counts about (t / T)^5. Equal weights (Sculley, 2010) keep the first ones, clustered badly,
# for ever; a much higher power would leave each centroid too few points.
_RECENCY = 6
# Passes over points in memory before the Lloyd iterations, which from the start alone would need ten times as many.
_MINI_BATCH_PASSES = 3
# The start needs distances between far points only, which few random directions keep (Johnson and Lindenstrauss).
_START_DIM = 64
_START_CANDIDATES = 8
# A cluster with less of the mean count is dead.
_DEAD = 0.01
# Bounds the scores [points, codebook_size] held at a time: 32 MiB of float32.
_SCORES_AT_A_TIME = 2**23


class KMeans:
    """k-means with scikit-learn's manners: `fit` returns self, learned attributes end in an underscore.

    Points of any float dtype are used in float32, and on their device. With an `accelerator` every process gives its
    share of the points, whose sums and counts are added over the processes: all get the centroids that one process
    would with all points, in the order of the processes, up to float32 rounding. All must make the same calls, but a
    share may be empty.

    Args:
        codebook_size: number of clusters K.
        iterations: passes of `fit` over its points at most; it stops early once a pass lowers the inertia by less than
            `tolerance`.
        batch_size: points of a mini-batch, over all processes; 10 for each cluster by default.
        seed: of the start and of the order in which mini-batches are drawn.
        tolerance: relative fall of the inertia in a pass below which the fit has converged.
        accelerator: of Hugging Face accelerate, where several processes share the points.
        start: [codebook_size, dim], centroids to start from in place of k-means++. `fit` then makes Lloyd iterations
            alone, so that a cluster keeps its number.
        spherical: points of unit length are to be compared by direction alone: centroids have unit length too.

    Attributes:
        centroids_: float32 [codebook_size, dim].
        inertia_: mean squared distance of a point to the nearest centroid. scikit-learn's is the sum. After `fit` it is
            that of all points to `centroids_`; after `partial_fit` a running mean over the recent mini-batches, each
            measured before it moved the centroids.
        variance_: mean squared distance to the mean of the same points: `1 - inertia_ / variance_` is explained.
        counts_: float32 [codebook_size], of the same points; after `partial_fit` a mini-batch's, on the average.
    """

    centroids_: Tensor
    inertia_: float
    variance_: float
    counts_: Tensor
    _moments: Tensor

    def __init__(
        self,
        codebook_size: int,
        *,
        iterations: int = 30,
        batch_size: int | None = None,
        seed: int = 0,
        tolerance: float = 1e-4,
        accelerator: Accelerator | None = None,
        start: Tensor | None = None,
        spherical: bool = False,
    ) -> None:
        self.codebook_size = codebook_size
        self.iterations = iterations
        self.batch_size = batch_size or POINTS_A_CLUSTER * codebook_size
        self.seed = seed
        self.tolerance = tolerance
        self.accelerator = accelerator
        self.start = start
        self.spherical = spherical
        self._steps = 0

    def fit(self, points: Tensor) -> KMeans:
        """Fits the centroids to `points` [points, dim]: some passes in mini-batches, then Lloyd iterations.

        Raises:
            ValueError: fewer points than clusters, or points that are not finite.
        """
        shared = SharedPoints(points, self.accelerator)
        self._start(shared)
        many = self.start is None and shared.total >= 2 * self.batch_size
        passes = min(_MINI_BATCH_PASSES, self.iterations) if many else 0
        for _ in range(passes):
            self._mini_batches(shared)
        self._lloyd(shared, self.iterations - passes)
        return self

    def partial_fit(self, points: Tensor) -> KMeans:
        """Improves the centroids by one pass over `points` [points, dim] in random mini-batches; the first call starts.

        A cluster that the recent mini-batches left nearly empty moves to a point drawn by its squared distance.

        Raises:
            ValueError: fewer points than clusters in the first call; points of another dimension, or not finite.
        """
        shared = SharedPoints(points, self.accelerator)
        if self._steps == 0:
            self._start(shared)
        elif points.shape[1] != self.centroids_.shape[1]:
            raise ValueError(f"points must be [points, {self.centroids_.shape[1]}], got shape {list(points.shape)}")
        self._mini_batches(shared)
        return self

    def predict(self, points: Tensor) -> Tensor:
        """int64 [points]: the nearest centroid of each of `points` [points, dim]."""
        codes: Tensor = Quantizer(self.centroids_)(points)
        return codes

    def state_dict(self) -> dict[str, Any]:
        """All that further `partial_fit` need to go on as if never interrupted."""
        return {name: getattr(self, name) for name in ("_steps", "_origin", "_moments", "centroids_")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._measure()

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self._steps)

    def _start(self, shared: SharedPoints) -> None:
        """`start`, or k-means++ of a sample; every process gets the centroids of the first."""
        if shared.total < self.codebook_size:
            raise ValueError(f"{shared.total} points cannot make {self.codebook_size} clusters: give more audio")
        self._steps = 0
        generator = self._generator()
        sample = shared.gather(shared.permutation(generator)[: POINTS_A_CLUSTER * self.codebook_size])
        if self.start is None:
            self.centroids_ = shared.of_first(sample[plus_plus(sample, self.codebook_size, generator)])
        else:
            self.centroids_ = self.start.to(sample)
        # Common offsets, which some layers have in excess, would cost digits in the products.
        self._origin = shared.of_first(sample.mean(0))

    def _mini_batches(self, shared: SharedPoints) -> None:
        order = shared.permutation(self._generator())
        for numbers in order.chunk(max(1, round(shared.total / self.batch_size))):
            moments, distances = self._assign(shared.own_of(numbers))
            rate = _RECENCY / (self._steps + _RECENCY)
            moments = shared.sum(moments)
            self._check(moments)
            self._moments = moments if self._steps == 0 else self._moments.lerp(moments, rate)
            self._steps += 1
            self._measure()
            self._move(shared, numbers, distances, rate)

    def _lloyd(self, shared: SharedPoints, iterations: int) -> None:
        everything, previous = torch.arange(shared.total), math.inf
        for left in reversed(range(iterations + 1)):
            moments, distances = self._assign(shared.own)
            self._moments = shared.sum(moments)
            self._check(self._moments)
            self._measure()
            dead = bool((self.counts_ == 0).any())
            if left == 0 or (self.inertia_ > (1 - self.tolerance) * previous and not dead):
                break
            previous = self.inertia_
            self._move(shared, everything, distances, 1.0)
        self._steps += 1

    def _assign(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Moments of this process's points by cluster, [codebook_size, dim + 3], and the distances, [points].

        Sums of the points, then their number and the sums of their squared distances and squared norms.
        """
        centroids = self.centroids_ - self._origin
        half_norms = centroids.square().sum(1) / 2
        moments = centroids.new_zeros(self.codebook_size, centroids.shape[1] + 3)
        distances = []
        for rows in points.split(max(1, _SCORES_AT_A_TIME // self.codebook_size)):
            rows = rows.float() - self._origin
            norms = rows.square().sum(1)
            nearest = torch.addmm(half_norms, rows, centroids.T, alpha=-1).min(1)
            distances.append((norms + 2 * nearest.values).clamp_(min=0))
            moments[:, :-3].index_add_(0, nearest.indices, rows)
            numbers = torch.stack([torch.ones_like(norms), distances[-1], norms], 1)
            moments[:, -3:].index_add_(0, nearest.indices, numbers)
        return moments, torch.cat(distances)

    def _check(self, moments: Tensor) -> None:
        if not moments[:, -1].sum().isfinite():
            raise ValueError("the points hold NaN or infinite values")

    def _measure(self) -> None:
        """Inertia, variance and counts from the moments."""
        self.counts_ = self._moments[:, -3].clone()
        totals = self._moments.double().sum(0)
        mean, (count, distances, norms) = totals[:-3] / totals[-3], totals[-3:].tolist()
        self.inertia_ = distances / count
        self.variance_ = norms / count - float(mean.square().sum())

    def _move(self, shared: SharedPoints, numbers: Tensor, distances: Tensor, weight: float) -> None:
        """Centroids to the means of their points; those of dead clusters to points drawn by their squared distance.

        `distances` are those of the points of this process among `numbers`. Each drawn point counts `weight`.
        """
        dead = (self.counts_ <= _DEAD * self.counts_.mean()).nonzero()[: len(numbers), 0]
        if len(dead):
            drawn = shared.draw(numbers, distances, len(dead), self._generator()) - self._origin
            norms = drawn.square().sum(1, keepdim=True)
            numbers_of = torch.cat([torch.ones_like(norms), torch.zeros_like(norms), norms], 1)
            self._moments[dead] = weight * torch.cat([drawn, numbers_of], 1)
        counts = self._moments[:, -3:-2]
        means = self._moments[:, :-3] / counts.clamp(min=torch.finfo(torch.float32).tiny) + self._origin
        self.centroids_ = torch.where(counts > 0, means, self.centroids_)
        if self.spherical:
            self.centroids_ = torch.nn.functional.normalize(self.centroids_)


def plus_plus(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++ (Arthur and Vassilvitskii, 2007): int64 [count], which of `points` [points, dim] to start from.

    Each is drawn by its squared distance to those chosen before it; of a few candidates the one
    that lowers the sum of squared distances most is kept, as in scikit-learn.
    """
    points = points - points.mean(0)
    if points.shape[1] > _START_DIM:
        directions = torch.randn(points.shape[1], _START_DIM, generator=generator) / math.sqrt(_START_DIM)
        points = points @ directions.to(points.device)
    norms = points.square().sum(1)
    draws = torch.rand(count, _START_CANDIDATES, generator=generator).to(points.device)
    best = (draws[0, :1] * len(points)).long()
    chosen, distances = [best], norms.new_full((len(points),), math.inf)
    for draw in draws[1:]:
        distances = torch.minimum(distances, _squared_distances(points, norms, best)[0])
        weights = distances.cumsum(0)
        candidates = torch.searchsorted(weights, draw * weights[-1]).clamp(max=len(points) - 1)
        left = torch.minimum(distances, _squared_distances(points, norms, candidates)).sum(1)
        best = candidates[left.argmin(0, keepdim=True)]
        chosen.append(best)
    return torch.cat(chosen)


def _squared_distances(points: Tensor, norms: Tensor, chosen: Tensor) -> Tensor:
    """[chosen, points], from the chosen points to all."""
    return torch.addmm(norms, points[chosen], points.T, alpha=-2).add_(norms[chosen, None]).clamp_(min=0)
