"""Codes that change only where it pays: duration-penalised segmentation (Kamper, 2202.11929)."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def penalized_codes(distances: Tensor, penalty: float) -> Tensor:
    """Of all sequences of codes, the one with the least sum of distances and of a penalty for each change of code.

    Exact, by dynamic programming over frames. As a change costs the same from any code to any other, a frame needs one
    minimum over the codes.

    Args:
        distances: of each frame to each centroid, [batch, frames, codebook_size].
        penalty: in the unit of the distances; with zero each frame gets its nearest centroid.

    Returns:
        int64 [batch, frames].
    """
    batch, frames, _ = distances.shape
    costs = distances[:, 0].clone()
    stays, cheapest = [], []
    for frame in range(1, frames):
        best, code = costs.min(-1, keepdim=True)
        stay = costs <= best + penalty
        stays.append(stay)
        cheapest.append(code[:, 0])
        costs = torch.where(stay, costs, best + penalty) + distances[:, frame]
    codes = [costs.argmin(-1)]
    rows = torch.arange(batch, device=distances.device)
    for stay, code in zip(reversed(stays), reversed(cheapest), strict=True):
        codes.append(torch.where(stay[rows, codes[-1]], codes[-1], code))
    return torch.stack(codes[::-1], 1)


def segment_means(features: Tensor, codes: Tensor) -> Tensor:
    """Features [batch, frames, dim] -> the mean over the run of equal codes [batch, frames] that a frame is in."""
    batch, frames, dim = features.shape
    changes = torch.ones_like(codes, dtype=torch.bool)
    changes[:, 1:] = codes[:, 1:] != codes[:, :-1]
    segments = changes.flatten().cumsum(0) - 1
    sums = features.new_zeros(int(segments[-1]) + 1, dim).index_add_(0, segments, features.flatten(0, 1))
    counts = torch.bincount(segments)[:, None]
    return (sums / counts)[segments].reshape(batch, frames, dim)
