"""Features of one encoder layer -> codes, by the nearest centroid of one codebook or of residual stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

# Bounds the scores [rows, codebook_size] held at a time: 64 MiB of float32.
_SCORES_AT_A_TIME = 2**24


class Quantizer(nn.Module):
    """The k-means codebook of one layer: each frame becomes the number of its nearest centroid (Euclidean).

    Args:
        centroids: [codebook_size, dim]. The buffer stays float32 even if the module is moved to another dtype.
    """

    centroids: Tensor

    def __init__(self, centroids: Tensor) -> None:
        super().__init__()
        if centroids.ndim != 2 or centroids.shape[0] < 2:
            raise ValueError(f"centroids must be [codebook_size >= 2, dim], got shape {list(centroids.shape)}")
        # Outside of inference mode, whose tensors have no version: a changed buffer has to be noticed.
        with torch.inference_mode(False):
            self.register_buffer("centroids", centroids.detach().to(torch.float32, copy=True))
        self._terms = _Terms(self.centroids)

    @property
    def codebook_size(self) -> int:
        return self.centroids.shape[0]

    @property
    def dim(self) -> int:
        return self.centroids.shape[1]

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Features [..., dim] -> codes int64 [...] in 0 ... codebook_size - 1.

        Of equally near centroids the lowest number is the code. Distances are computed in float32: `margins` gives how
        near a frame is to another code.
        """
        codes = [self._scores(rows).argmin(dim=1) for rows in self._rows(features)]
        return torch.cat(codes).reshape(features.shape[:-1])

    @torch.no_grad()
    def distances(self, features: Tensor) -> Tensor:
        """Squared distances of features [..., dim] to all centroids, less a constant of each frame: float32
        [..., codebook_size]."""
        scores = torch.cat([self._scores(rows) for rows in self._rows(features)])
        return 2 * scores.reshape(*features.shape[:-1], self.codebook_size)

    def _scores(self, rows: Tensor) -> Tensor:
        """Half of the distances that `distances` gives, of features [rows, dim]: [rows, codebook_size]."""
        if not self._terms.fit(self.centroids):
            self._terms = _Terms(self.centroids)
        terms = self._terms
        return torch.addmm(terms.half_norms, rows.float() - terms.centre, terms.centred.T, alpha=-1)

    @torch.no_grad()
    def margins(self, features: Tensor) -> Tensor:
        """How far features [..., dim] are from another code: float64 [...] in [0, 1] on the CPU, 0 for a tie.

        The margin is (d2 - d1) / d2, where d1 <= d2 are the squared distances to the two nearest centroids, computed in
        float64. Below about 1e-5 the difference is smaller than the rounding of a float32 encoder, so the code may
        depend on the order of the encoder's sums.
        """
        centroids = self.centroids.cpu().double()
        margins = []
        for rows in self._rows(features):
            # By differences: computed by products, distances near zero would be nothing but rounding.
            distances = torch.cdist(
                rows.cpu().double(), centroids, compute_mode="donot_use_mm_for_euclid_dist"
            ).square()
            first, second = distances.topk(2, dim=1, largest=False).values.unbind(dim=1)
            margins.append((second - first) / second.clamp(min=torch.finfo(torch.float64).tiny))
        return torch.cat(margins).reshape(features.shape[:-1])

    def _rows(self, features: Tensor) -> tuple[Tensor, ...]:
        if features.ndim == 0 or features.shape[-1] != self.dim:
            raise ValueError(f"features must be [..., dim] with dim {self.dim}, got shape {list(features.shape)}")
        return torch.split(features.reshape(-1, self.dim), max(1, _SCORES_AT_A_TIME // self.codebook_size))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_terms"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._terms = _Terms(self.centroids)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Quantizer:
        # The centroids follow the module to a device, but not to a dtype, which would round them.
        centroids = self.centroids
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.centroids = centroids.to(self.centroids.device)
        self._terms = _Terms(self.centroids)
        return self


class _Terms:
    """Terms of the distances to centroids [codebook_size, dim], computed once for all features.

    The squared distance of features x to a centroid c is |c|^2 / 2 - x.c, times 2, plus a constant of x. A common
    offset of features and centroids cancels in the distances but costs digits in the product x.c, so both are centred.
    """

    def __init__(self, centroids: Tensor) -> None:
        self._of, self._version = centroids, _version(centroids)
        with torch.inference_mode(False), torch.no_grad():
            self.centre = centroids.mean(dim=0)
            self.centred = centroids - self.centre
            self.half_norms = self.centred.square().sum(dim=1) / 2

    def fit(self, centroids: Tensor) -> bool:
        """Whether these terms are of the centroids in their present state."""
        return centroids is self._of and _version(centroids) == self._version


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; 0 for inference tensors, which do not count changes."""
    return 0 if tensor.is_inference() else tensor._version


class ResidualQuantizer(nn.Module):
    """The codebooks of one layer: each stage quantizes the residual of the stages before it.

    A single stage is the plain k-means of the paper; several stages are residual vector quantization.

    Args:
        centroids: [codebook_size, dim] of each stage.
    """

    def __init__(self, centroids: Sequence[Tensor]) -> None:
        super().__init__()
        self._stages = nn.ModuleList(Quantizer(points) for points in centroids)

    @property
    def stages(self) -> list[Quantizer]:
        return cast("list[Quantizer]", list(self._stages))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each stage."""
        return tuple(stage.codebook_size for stage in self.stages)

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Features [..., dim] -> codes int64 [..., stages]."""
        residual = features
        codes: list[Tensor] = []
        for stage in self.stages:
            if codes:
                residual = residual.float() - self.stages[len(codes) - 1].centroids[codes[-1]]
            codes.append(stage(residual))
        return torch.stack(codes, dim=-1)

    @torch.no_grad()
    def margins(self, features: Tensor) -> Tensor:
        """The margins of features [..., dim] in each stage, float64 [..., stages]; see `Quantizer.margins`."""
        residual, margins = features.float(), []
        for stage in self.stages:
            margins.append(stage.margins(residual))
            residual = residual - stage.centroids[stage(residual)]
        return torch.stack(margins, dim=-1)

    def embed(self, codes: Tensor) -> Tensor:
        """The sum over stages of the centroids of codes [..., stages]: float32 [..., dim]."""
        return torch.stack([stage.centroids[codes[..., i]] for i, stage in enumerate(self.stages)]).sum(0)
