"""The fingerprint of a tokenizer: a hash of its encoder and its centroids."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from semtok.codebooks.layers import Layer, Mixture, in_order


def fingerprint_of(encoder: str, centroids: Mapping[Layer, Sequence[Tensor]], mixtures: Mapping[str, Mixture]) -> str:
    """16 hexadecimal digits that no other tokenizer has.

    Args:
        encoder: identity of the encoder, by its hub id and commit or by `weights_identity`.
        centroids: [codebook_size, dim] of each residual stage, by layer.
        mixtures: the weights of those layers that have a name.
    """
    digest = hashlib.sha256(encoder.encode())
    for layer in in_order(centroids):
        if isinstance(layer, str):
            digest.update(f"|{layer}={sorted(mixtures[layer].items())}|".encode())
        for points in centroids[layer]:
            digest.update(f"|{layer}:{list(points.shape)}|".encode())
            digest.update(_bytes(points))
    return digest.hexdigest()[:16]


def segments_fingerprint(frames: str, segmentation: str) -> str:
    """Of a tokenizer whose frames are joined to segments: that of the frames, and the segmentation's name."""
    return f"{frames_fingerprint(frames)}/{segmentation}"


def frames_fingerprint(fingerprint: str) -> str:
    """Of a tokenizer with the same encoder and centroids, whose frames have codes of their own."""
    return fingerprint.partition("/")[0]


def weights_identity(model: nn.Module) -> str:
    """A hash of an encoder's weights, which identifies an encoder without a hub id."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return "sha256:" + digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().float().contiguous().numpy().tobytes()
