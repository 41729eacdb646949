"""Projection-weighted canonical correlation: how much of continuous features two layers, or a layer and speech, share.

Source: Morcos et al., "Insights on representational similarity", 2018, as Pasad et al. (2021) use it for speech.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.floating[Any]]

# Directions that hold less of the variance of a view are rounding.
_SMALL = 1e-8


def pwcca(first: Matrix, second: Matrix) -> float:
    """Weighted mean of the canonical correlations of two views [frames, dim] of the same frames, 0 to 1.

    They are fitted to the one half of the frames and measured on the other, so that views that have nothing in common
    come out near 0 however many dimensions they have. Weights are those of the view with fewer dimensions.

    Raises:
        ValueError: fewer than four frames for each dimension: correlations would appear by chance.
    """
    if first.shape[1] > second.shape[1]:
        first, second = second, first
    frames = len(first) // 2
    if frames < 2 * first.shape[1]:
        raise ValueError(f"{len(first)} frames are too few for {first.shape[1]} dimensions: give more speech")
    (base_x, white_x), (base_y, white_y) = _whitened(first[:frames]), _whitened(second[:frames])
    left, _, right = np.linalg.svd((base_x @ white_x).T @ (base_y @ white_y) / frames, full_matrices=False)
    variates = base_x @ white_x @ left
    weights = np.abs(variates.T @ base_x).sum(axis=1)
    test_x = _centred(first[frames:]) @ white_x @ left
    test_y = _centred(second[frames:]) @ white_y @ right.T
    norms = np.linalg.norm(test_x, axis=0) * np.linalg.norm(test_y, axis=0)
    correlations = (test_x * test_y).sum(axis=0) / np.maximum(norms, np.finfo(float).tiny)
    return float(np.clip(correlations, 0, 1) @ weights / weights.sum())


def _whitened(view: Matrix) -> tuple[Matrix, Matrix]:
    """The centred view and what makes its covariance the identity, [dim, rank]."""
    centred = _centred(view)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    large = variances > max(variances[-1], 0) * _SMALL
    return centred, directions[:, large] / np.sqrt(variances[large])


def _centred(view: Matrix) -> Matrix:
    view = view.astype(np.float64)
    centred: Matrix = view - view.mean(axis=0)
    return centred
