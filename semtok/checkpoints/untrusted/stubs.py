"""What a pickle says about objects, kept as plain data, and the arrays that can be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from semtok.checkpoints.untrusted.arrays import Array, Bytes, array_from, number_type
from semtok.errors import CheckpointError

JOBLIB_ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"

# Modules have moved since; a stub carries the present name.
_MOVED = {
    "__builtin__.": "builtins.",
    "copy_reg.": "copyreg.",
    "numpy.core.": "numpy._core.",
    "sklearn.cluster.k_means_.": "sklearn.cluster._kmeans.",
    "sklearn.externals.joblib.": "joblib.",
}

# All that files of KMeans, MiniBatchKMeans and arrays name. Each becomes a stub; none is ever imported.
_KNOWN = {
    "_codecs.encode",
    "builtins.object",
    "copyreg._reconstructor",
    JOBLIB_ARRAY,
    "numpy.dtype",
    "numpy.ndarray",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.numeric._frombuffer",
    "numpy.random.__RandomState_ctor",
    "numpy.random._mt19937.MT19937",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "sklearn.cluster._kmeans.KMeans",
    "sklearn.cluster._kmeans.MiniBatchKMeans",
}


@dataclass(frozen=True)
class Name:
    """The name of a class or function that a pickle asks for: a name and nothing else."""

    name: str


@dataclass(eq=False, repr=False)
class Stub:
    """In place of an object: what the pickle would have called, with what, and the state it would have set.

    Args:
        name: of the class or function, module and all.
        arguments: of the call.
        state: None until the pickle gives one.
        data: the bytes that joblib keeps beside an array's stub.
    """

    name: str
    arguments: tuple[object, ...]
    state: object = None
    data: Bytes = b""


def known_name(module: object, name: object) -> Name:
    """The name for a stub.

    Raises:
        CheckpointError: it is none that k-means files need.
    """
    if type(module) is not str or type(name) is not str:
        raise CheckpointError("it asks for an object by something that is no name: it is damaged or hostile")
    full = f"{module}.{name}"
    for old, new in _MOVED.items():
        if full.startswith(old):
            full = new + full.removeprefix(old)
    if full.startswith("joblib.") and full.endswith("NDArrayWrapper"):
        raise CheckpointError(
            "its arrays are in files beside it, as joblib before 0.10 wrote them, which semtok does not read: load it "
            "with joblib, if you trust its source, and save cluster_centers_ with numpy.save"
        )
    if full not in _KNOWN:
        raise CheckpointError(
            f"the file asks for {full[:200]!r}, which k-means never needs: it is hostile, or holds something else. "
            "Nothing of it was run. If you trust its source, load it with the library that wrote it and save the "
            "centroids with numpy.save"
        )
    return Name(full)


def array_of(value: object) -> Array:
    """The array that a stub stands for.

    Raises:
        CheckpointError: it stands for none, for one of anything but numbers, or its sizes contradict each other.
    """
    match value:
        case Stub("numpy._core.multiarray._reconstruct", _, (_, tuple(shape), dtype, fortran, data)):
            return array_from(_bytes_of(data), dtype_of(dtype), shape, fortran=bool(fortran))
        case Stub("numpy._core.numeric._frombuffer", (data, dtype, tuple(shape), ("C" | "F") as order, *_)):
            return array_from(_bytes_of(data), dtype_of(dtype), shape, fortran=order == "F")
        case Stub(name, _, {"dtype": dtype, "shape": tuple(shape), "order": ("C" | "F") as order}, data) if (
            name == JOBLIB_ARRAY
        ):
            return array_from(data, dtype_of(dtype), shape, fortran=order == "F")
    arrived = value.name if isinstance(value, Stub) else type(value).__name__
    raise CheckpointError(f"expected an array, found {arrived}")


def dtype_of(value: object) -> np.dtype[Any]:
    """The dtype that a stub stands for; `CheckpointError` if it stands for none, or for anything but numbers."""
    match value:
        case Stub("numpy.dtype", (str(code), *_), (_, ("<" | ">" | "|" | "=") as byte_order, *_)):
            return number_type(byte_order + code)
    raise CheckpointError("an array's type of values is malformed")


def _bytes_of(value: object) -> Bytes:
    match value:
        case bytes() | bytearray() | memoryview():
            return value
        # Protocols before 3 had no bytes.
        case str(text) | Stub("_codecs.encode", (str(text), "latin1" | "latin-1")):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError as error:
                raise CheckpointError(f"an array's bytes are malformed: {error}") from error
    raise CheckpointError(f"an array's bytes are malformed: expected bytes, found {type(value).__name__}")
