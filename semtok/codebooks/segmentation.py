"""Units of variable length: codes that change only where it pays, or only at peaks of the norm of features.

Duration-penalised segmentation is that of Kamper (2202.11929); peaks of the norm, and means between them, are ZeroSyl's
(2602.15537).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semtok.errors import ConfigError


@dataclass(frozen=True)
class Segmentation:
    """How frames are joined to segments, each of which has one code. Exactly one of `penalty` and `boundary_layer`.

    Args:
        penalty: of each change of code, by the variance of the centroids: of all sequences of codes, the one with the
            least sum of squared distances and penalties.
        boundary_layer: a segment begins at each peak of the norm of this layer's features, and has the code of the mean
            of its frames.
        window: frames of the moving average over the norms, an odd number.
        prominence: of a peak, at least, in standard deviations of the norms.
        spherical: the means are compared with the centroids by their direction alone.

    Raises:
        ConfigError: both or none of `penalty` and `boundary_layer`, or values out of range.
    """

    penalty: float | None = None
    boundary_layer: int | None = None
    window: int = 3
    prominence: float = 0.45
    spherical: bool = False

    def __post_init__(self) -> None:
        if (self.penalty is None) == (self.boundary_layer is None):
            raise ConfigError(
                "segments need either a penalty for each change of code or a boundary_layer, whose norm has peaks; got "
                f"penalty {self.penalty} and boundary_layer {self.boundary_layer}"
            )
        if self.penalty is not None and not 0 < self.penalty < math.inf:
            raise ConfigError(f"the penalty must be a number above 0, got {self.penalty}")
        if self.boundary_layer is not None and self.boundary_layer < 0:
            raise ConfigError(f"boundary_layer must be at least 0, got {self.boundary_layer}")
        if self.window < 1 or self.window % 2 == 0:
            raise ConfigError(f"the window must be an odd number of frames, at least 1, got {self.window}")
        if not 0 <= self.prominence < math.inf:
            raise ConfigError(f"the prominence must be a number of at least 0, got {self.prominence}")

    def means(self, content: Tensor, boundary: Tensor) -> tuple[Tensor, Tensor]:
        """The means of the segments of a clip, by peaks of the norm.

        Args:
            content: features [frames, dim] whose means are wanted.
            boundary: features [frames, dim] of `boundary_layer`.

        Returns:
            float32 [segments, dim], and the segment of each frame, int64 [frames].
        """
        segments = norm_peaks(boundary, self.window, self.prominence)
        sums = content.new_zeros(int(segments[-1]) + 1, content.shape[1], dtype=torch.float32)
        return sums.index_add_(0, segments, content.float()) / torch.bincount(segments)[:, None], segments

    @property
    def name(self) -> str:
        """Of this segmentation and of no other, as fingerprints have it."""
        if self.penalty is not None:
            return f"penalty={self.penalty!r}"
        shape = ",spherical" if self.spherical else ""
        return f"peaks={self.boundary_layer},{self.window},{self.prominence!r}{shape}"


class PenalizedPath:
    """Of all sequences of codes, the one with the least sum of distances and of a penalty for each change of code.

    Exact, by dynamic programming over frames that arrive in pieces. As a change costs the same from any code to any
    other, a frame needs one minimum over the codes, and of the past only the best code of each frame and where its run
    began: two numbers a frame, whatever the codebook.

    Args:
        penalty: in the unit of the distances; with zero each frame gets its nearest centroid.
    """

    def __init__(self, penalty: float) -> None:
        self._penalty = penalty
        self._frames = 0
        self._costs: Tensor | None = None
        self._pieces: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def push(self, distances: Tensor) -> None:
        """The next frames: distances of each to each centroid, [batch, frames, codebook_size]."""
        codes, begins = [], []
        for distance in distances.unbind(1):
            if self._costs is None:
                self._costs = torch.zeros_like(distance)
                self._begins = torch.zeros_like(distance, dtype=torch.int64)
            else:
                # From the best, as sums over hours would lose the digits of a frame.
                costs = self._costs - self._costs.min(-1, keepdim=True).values
                self._begins = torch.where(costs > self._penalty, self._frames, self._begins)
                self._costs = costs.clamp(max=self._penalty)
            self._costs = self._costs + distance
            best = self._costs.argmin(-1, keepdim=True)
            codes.append(best)
            begins.append(self._begins.gather(-1, best))
            self._frames += 1
        if codes:
            self._pieces.append((torch.cat(codes, 1), torch.cat(begins, 1)))

    def codes(self) -> Tensor:
        """The best codes of all frames so far, int64 [batch, frames]."""
        codes, begin_of = (torch.cat(pieces, 1) for pieces in zip(*self._pieces, strict=True))
        begins = begin_of.cpu().numpy()
        sources = np.empty_like(begins)
        for source, begin in zip(sources, begins, strict=True):
            frame = len(begin) - 1
            while frame >= 0:
                source[begin[frame] : frame + 1] = frame
                frame = begin[frame] - 1
        return codes.gather(1, torch.from_numpy(sources).to(codes.device))


def penalized_codes(distances: Tensor, penalty: float) -> Tensor:
    """The codes of `PenalizedPath` of whole clips.

    Args:
        distances: of each frame to each centroid, [batch, frames, codebook_size].
        penalty: in the unit of the distances; with zero each frame gets its nearest centroid.

    Returns:
        int64 [batch, frames].
    """
    path = PenalizedPath(penalty)
    path.push(distances)
    return path.codes()


def norm_peaks(features: Tensor, window: int, prominence: float) -> Tensor:
    """The segment of each frame of features [frames, dim], by peaks of their smoothed norm: int64 [frames], from 0.

    Arguments as of `Segmentation`. A peak begins a segment, and so does the first frame.
    """
    norms = features.detach().float().norm(dim=-1).cpu().double().numpy()
    norms = (norms - norms.mean()) / max(norms.std(), np.finfo(float).tiny)
    smooth = np.convolve(np.pad(norms, window // 2, mode="edge"), np.ones(window) / window, mode="valid")
    begins = np.zeros(len(norms), dtype=np.int64)
    begins[_peaks(smooth, prominence)] = 1
    begins[0] = 0
    return torch.from_numpy(begins.cumsum()).to(features.device)


def _peaks(values: npt.NDArray[np.float64], prominence: float) -> list[int]:
    """Local maxima that rise by `prominence` over the higher of the lowest points between them and higher values."""
    peaks = []
    rises = np.flatnonzero(values[1:] > values[:-1]) + 1
    for start in rises.tolist():
        (others,) = np.nonzero(values[start:] != values[start])
        if len(others) == 0 or values[start + others[0]] > values[start]:
            continue  # a plateau at the end, or a step on the way up
        higher = np.flatnonzero(values > values[start])
        left, right = higher[higher < start], higher[higher > start]
        lowest_left = values[left[-1] if len(left) else 0 : start].min()
        lowest_right = values[start : right[0] + 1 if len(right) else None].min()
        if values[start] - max(lowest_left, lowest_right) >= prominence:
            peaks.append(start + (int(others[0]) - 1) // 2)
    return peaks


def segment_means(features: Tensor, codes: Tensor) -> Tensor:
    """Features [batch, frames, dim] -> the mean over the run of equal codes [batch, frames] that a frame is in."""
    batch, frames, dim = features.shape
    changes = torch.ones_like(codes, dtype=torch.bool)
    changes[:, 1:] = codes[:, 1:] != codes[:, :-1]
    segments = changes.flatten().cumsum(0) - 1
    sums = features.new_zeros(int(segments[-1]) + 1, dim).index_add_(0, segments, features.flatten(0, 1))
    counts = torch.bincount(segments)[:, None]
    return (sums / counts)[segments].reshape(batch, frames, dim)
