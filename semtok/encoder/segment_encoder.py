"""Encoder, codebook and segmentation in one module: waveforms -> codes that stay the same within a segment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from semtok.audio.lengths import frame_mask
from semtok.codebooks.layers import Layer
from semtok.codebooks.quantizer import Quantizer
from semtok.codebooks.segmentation import PenalizedPath, Segmentation
from semtok.encoder.code_encoder import CodeEncoder
from semtok.encoder.encoder import Encoder
from semtok.encoder.statistics import Statistics
from semtok.networks.precision import exact_float32

# Bounds the distances [batch, frames, codebook_size] that are held at a time: 32 MiB of float32.
_DISTANCES_AT_A_TIME = 2**23


class SegmentEncoder(CodeEncoder):
    """A frozen encoder, the codebook of one layer, and what joins its frames to segments.

    A clip gets the same codes in any batch. The codes of a long recording are those of all its features at once where
    `segmentation` has a penalty; where it has a boundary layer, a window of the recording is measured by its own norms.

    Args:
        encoder: waveforms -> features.
        layer: whose features the codes stand for.
        centroids: [codebook_size, dim] of the layer.
        segmentation: how frames are joined.
    """

    def __init__(self, encoder: Encoder, layer: Layer, centroids: Tensor, segmentation: Segmentation) -> None:
        super().__init__(encoder, {layer: [centroids]})
        self.layer, self.segmentation = layer, segmentation
        (quantizer,) = self.quantizer(layer).stages
        self._quantizer = Quantizer(nn.functional.normalize(centroids)) if segmentation.spherical else quantizer
        self._quantizer.to(centroids.device)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        layers: Sequence[Layer],
        statistics: Sequence[Statistics] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Arguments, errors and result as in `CodeEncoder.forward`; the layers are the one there is."""
        boundary = self.segmentation.boundary_layer
        read: list[Layer] = [self.layer] if boundary is None else [self.layer, boundary]
        features, frames = self.encoder(waveforms, lengths, read, statistics)
        valid = frame_mask(frames, features.shape[2])
        with exact_float32(waveforms.device):
            if boundary is None:
                # Frames of padding cost nothing, so that the best path of a clip just goes on.
                codes = self._path([features[:, 0]], valid)
            else:
                codes = torch.stack([self._means(clip, int(end)) for clip, end in zip(features, frames, strict=True)])
        return codes[:, None].masked_fill(~valid[:, None], -1), frames

    def follow(self, pieces: Iterable[Tensor]) -> Tensor:
        """The codes int64 [1, frames] of a long recording, by a penalty: of pieces [1, frames, dim] of its features."""
        with exact_float32(next(self.parameters()).device):
            return self._path(pieces, None)

    def _path(self, pieces: Iterable[Tensor], valid: Tensor | None) -> Tensor:
        """Codes [batch, frames] of the features [batch, frames, dim] of clips, piece by piece."""
        assert self.segmentation.penalty is not None
        centroids = self._quantizer.centroids
        path = PenalizedPath(self.segmentation.penalty * float(centroids.var(0, correction=0).sum()))
        for features in pieces:
            step = max(1, _DISTANCES_AT_A_TIME // (len(features) * len(centroids)))
            for start in range(0, features.shape[1], step):
                distances = self._quantizer.distances(features[:, start : start + step])
                if valid is not None:
                    distances = distances.masked_fill(~valid[:, start : start + step, None], 0)
                path.push(distances)
        return path.codes()

    def _means(self, features: Tensor, end: int) -> Tensor:
        """Codes [frames] of the features [2, frames, dim] of a clip that ends before the padding."""
        content, boundary = features[:, :end]
        means, segments = self.segmentation.means(content, boundary)
        codes = self._quantizer(means)[segments]
        return nn.functional.pad(codes, (0, features.shape[1] - end), value=-1)
