"""K-means centroids in every form that people publish them in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semtok.checkpoints.untrusted.arrays import NPY_MAGIC, Array, is_npz, read_npy, read_npz
from semtok.checkpoints.untrusted.compression import decompressed
from semtok.checkpoints.untrusted.faiss import read_faiss
from semtok.checkpoints.untrusted.pickles import read_kmeans
from semtok.checkpoints.untrusted.source import MAX_BYTES, read_bytes, reading
from semtok.checkpoints.untrusted.state_dict import is_safetensors, is_torch, read_safetensors, read_torch
from semtok.errors import CheckpointError


def read_centroids(path: str | os.PathLike[str]) -> Tensor:
    """K-means centroids, float32 [codebook_size, dim].

    The format is told by the content, whatever the file's name: scikit-learn's KMeans or MiniBatchKMeans or an array,
    pickled or dumped by joblib (plain, or compressed by zlib, gzip, bz2, lzma, xz or lz4); `.npy`; a flat faiss index;
    and `.npz`, `.safetensors` or a file of `torch.save` with a single matrix in it, numbers beside it ignored (as
    soft-vc publishes its k-means). Nothing of the file is executed.

    Raises:
        CheckpointError: the file is missing, damaged, hostile or of another format, or holds no such matrix.
    """
    with reading(path) as path:
        points = _matrix(path)
        if points.ndim != 2 or 0 in points.shape or points.dtype.kind != "f":
            raise CheckpointError(
                f"expected centroids, floating point [codebook_size, dim], found {points.dtype} {list(points.shape)}"
            )
        with np.errstate(over="ignore"):
            points = np.array(points, dtype=np.float32, order="C")
        if not np.isfinite(points).all():
            raise CheckpointError("the centroids have values that are NaN, infinite or too large for float32")
        return torch.from_numpy(points)


def _matrix(path: Path) -> Array:
    if is_safetensors(path):
        return _only_matrix(read_safetensors(path))
    if is_npz(path):
        return _only_matrix(read_npz(path))
    if is_torch(path):
        content = read_torch(path, ignore=(int, float))
        return content.numpy() if isinstance(content, Tensor) else _only_matrix(content)
    data = read_bytes(path, MAX_BYTES)
    if data.startswith(NPY_MAGIC):
        return read_npy(data)
    if data.startswith(b"I"):
        return read_faiss(data)
    pickled = decompressed(data)
    if pickled.startswith((b"\x80", b"c")):
        return read_kmeans(pickled)
    hint = " (a git-lfs pointer: run git lfs pull)" if data.startswith(b"version https://git-lfs") else ""
    raise CheckpointError(
        f"its content begins with {pickled[:16]!r}{hint}: expected a scikit-learn k-means written by joblib or pickle, "
        ".npy, .npz, .safetensors, a file of torch.save, or a flat faiss index"
    )


def _only_matrix(arrays: Mapping[str, Array] | Mapping[str, Tensor]) -> Array:
    by_name: dict[str, Array] = {name: np.asarray(array) for name, array in arrays.items()}
    matrices = [array for array in by_name.values() if array.ndim == 2]
    if len(matrices) != 1:
        shapes = {name: list(array.shape) for name, array in list(by_name.items())[:20]}
        raise CheckpointError(f"expected one matrix [codebook_size, dim], found {len(matrices)} among {shapes}")
    return matrices[0]
