"""Flat faiss indexes, read by their layout (faiss/impl/index_write.cpp) without faiss."""

from __future__ import annotations

import struct

import numpy as np

from semtok.checkpoints.untrusted.arrays import Array, array_from
from semtok.errors import CheckpointError

# Four letters of the type, dim, vectors, two unused fields, whether trained, metric, number of floats that follow.
_HEADER = struct.Struct("<4s i q 16x ? i Q")
_METRICS = {b"IxFI": 0, b"IxF2": 1}
_NORM_TOLERANCE = 1e-3


def read_faiss(data: bytes) -> Array:
    """The vectors [codebook_size, dim] of an IndexFlatL2, or of an IndexFlatIP in which all have the same norm.

    Raises:
        CheckpointError: the index is of another type, its sizes contradict each other or the bytes that are there, or
            the largest inner product and the smallest distance name different vectors.
    """
    kind = data[:4]
    if kind not in _METRICS:
        raise CheckpointError(
            f"it is a faiss index of type {kind!r}: expected a flat one (IndexFlatL2 or IndexFlatIP). With faiss, save "
            "the vectors by numpy.save('centroids.npy', index.reconstruct_n(0, index.ntotal)); those of an IVF index "
            "are in its quantizer: faiss.downcast_index(index.quantizer)"
        )
    if len(data) < _HEADER.size:
        raise CheckpointError(f"the faiss index ends within its header, after {len(data)} bytes")
    _, dim, vectors, _, metric, count = _HEADER.unpack_from(data)
    if metric != _METRICS[kind] or count != dim * vectors:
        raise CheckpointError(
            f"the header of the faiss index contradicts itself: type {kind!r}, metric {metric}, "
            f"{vectors} vectors of {dim} dimensions in {count} numbers"
        )
    points = array_from(memoryview(data)[_HEADER.size :], np.dtype("<f4"), (vectors, dim), fortran=False)
    if kind == b"IxFI":
        norms = np.linalg.norm(points.astype(np.float64), axis=1)
        if np.ptp(norms) > _NORM_TOLERANCE * norms.max():
            raise CheckpointError(
                f"the index searches by inner product and its vectors have norms from {norms.min():.4g} to "
                f"{norms.max():.4g}: the nearest centroid, semtok's token, is another one. Save the vectors as .npy "
                "if the nearest is what you want"
            )
    return points
