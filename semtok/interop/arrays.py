"""Arrays out of bytes: every size is checked against the bytes that are there before anything is made."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semtok.errors import CheckpointError

Array = NDArray[Any]
Bytes = bytes | bytearray | memoryview

# Of a file, and of what comes out of it decompressed. The largest k-means in use is some 100 MB.
MAX_BYTES = 1 << 30
MAX_DIMENSIONS = 8
NPY_MAGIC = b"\x93NUMPY"


def byte_count(shape: object, dtype: np.dtype[Any]) -> int:
    """Bytes that an array of this shape takes.

    Raises:
        CheckpointError: the shape is no tuple of a few non-negative integers, or the array is larger than `MAX_BYTES`.
    """
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"an array's shape should be a tuple of at most {MAX_DIMENSIONS} integers")
    if not all(type(length) is int and 0 <= length <= MAX_BYTES for length in shape):
        raise CheckpointError(f"an array's shape has entries that are no integers from 0 to {MAX_BYTES}")
    count = math.prod(shape) * dtype.itemsize
    if count > MAX_BYTES:
        raise CheckpointError(f"an array of shape {shape} and type {dtype} exceeds the limit of {MAX_BYTES} bytes")
    return count


def array_from(data: Bytes, dtype: np.dtype[Any], shape: object, *, fortran: bool) -> Array:
    """A read-only array on the bytes of `data`, none more and none less.

    Raises:
        CheckpointError: the array takes more or fewer bytes than there are, or holds Python objects.
    """
    if dtype.hasobject:
        raise CheckpointError("the array holds Python objects, which are pickles in disguise: expected numbers")
    expected = byte_count(shape, dtype)
    if len(data) != expected:
        raise CheckpointError(f"an array of shape {shape} and type {dtype} takes {expected} bytes, found {len(data)}")
    array: Array = np.frombuffer(data, dtype)
    return array.reshape(shape, order="F" if fortran else "C")  # type: ignore[call-overload, no-any-return]


def read_npy(data: bytes) -> Array:
    """The array of a `.npy` file's content.

    Raises:
        CheckpointError: the header is malformed, or promises another size than there is.
    """
    stream = io.BytesIO(data)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = readers[version](stream)
    # What Python's parser says of a nonsensical header depends on its version.
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"the .npy header is malformed: {error}") from error
    return array_from(memoryview(data)[stream.tell() :], dtype, shape, fortran=fortran)


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of a `.npz` file by name.

    Raises:
        CheckpointError: it is damaged, or holds anything but `.npy` files, or more than `MAX_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_names([member.filename for member in members])
            if (total := sum(member.file_size for member in members)) > MAX_BYTES:
                raise CheckpointError(f"it unpacks to {total} bytes, the limit is {MAX_BYTES}")
            if others := [member.filename for member in members if not member.filename.endswith(".npy")]:
                raise CheckpointError(f"expected a zip file of .npy files (.npz), found {others[0]!r}")
            return {member.filename.removesuffix(".npy"): read_npy(archive.read(member)) for member in members}
    # RuntimeError: encrypted; NotImplementedError: an unknown compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise CheckpointError(f"the zip file is damaged or of an unusual kind: {error}") from error


def check_names(names: Sequence[str]) -> None:
    """Refuses names of an archive's members that lead out of a folder. They are not used as paths, but mean no good."""
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in name:
            raise CheckpointError(f"a member is named {name!r}, which leads out of the archive: it may be hostile")
