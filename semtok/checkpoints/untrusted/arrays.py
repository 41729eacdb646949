"""Arrays out of bytes: every size is checked against the bytes that are there before anything is made."""

from __future__ import annotations

import lzma
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semtok.checkpoints.untrusted.source import MAX_BYTES
from semtok.errors import CheckpointError

Array = NDArray[Any]
Bytes = bytes | bytearray | memoryview

MAX_DIMENSIONS = 8
NPY_MAGIC = b"\x93NUMPY"
_NPY_HEADER = re.compile(
    r"\{'descr': '(?P<type>[^']*)', 'fortran_order': (?P<fortran>True|False), 'shape': \((?P<shape>[\dL, ]*)\),? ?\}\s*"
)
_NUMBER = re.compile(r"[<>|=]?[biufc]\d{1,2}")
_MAX_HEADER = 1000
ZIP_MAGIC = b"PK\3\4"


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


def number_type(name: str) -> np.dtype[Any]:
    """The dtype of numbers that numpy writes as byte order, kind and bytes: `<f8`.

    Raises:
        CheckpointError: it is the dtype of something else, Python objects for instance, or of nothing.
    """
    hint = ", Python objects, which are pickles in disguise" if "O" in name else ""
    if not _NUMBER.fullmatch(name):
        raise CheckpointError(f"an array holds values of type {name[:20]!r}{hint}: expected numbers")
    try:
        return np.dtype(name)
    except TypeError as error:
        raise CheckpointError(f"an array holds values of unknown type {name!r}") from error


def array_from(data: Bytes, dtype: np.dtype[Any], shape: object, *, fortran: bool) -> Array:
    """A read-only array on the bytes of `data`, none more and none less.

    Raises:
        CheckpointError: the array takes more or fewer bytes than there are.
    """
    expected = byte_count(shape, dtype)
    if len(data) != expected:
        raise CheckpointError(f"an array of shape {shape} and type {dtype} takes {expected} bytes, found {len(data)}")
    return np.ndarray(shape, dtype, buffer=data, order="F" if fortran else "C")  # type: ignore[arg-type]


def read_npy(data: bytes) -> Array:
    """The array of a `.npy` file's content (format: numpy.lib.format).

    Raises:
        CheckpointError: the header is malformed, or promises another size or other values than numbers.
    """
    # Version 1 gives the header's length in two bytes, later ones in four.
    start = 10 if data[6:7] == b"\1" else 12
    end = start + int.from_bytes(data[8:start], "little")
    header = data[start : min(end, start + _MAX_HEADER)].decode("latin-1")
    fields = _NPY_HEADER.fullmatch(header)
    if fields is None:
        raise CheckpointError(f"the .npy header is malformed, or of no plain array: {header[:80]!r}")
    shape = tuple(int(length) for length in re.findall(r"\d+", fields["shape"]))
    return array_from(memoryview(data)[end:], number_type(fields["type"]), shape, fortran=fields["fortran"] == "True")


def is_npz(path: Path) -> bool:
    """Whether it is a zip file, and none of `torch.save`'s, which hold a pickle."""
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    return is_zip and not any(member.filename.endswith("data.pkl") for member in zip_members(path))


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of a `.npz` file by name.

    Raises:
        CheckpointError: it is damaged, or holds anything but `.npy` files, or more than `MAX_BYTES`.
    """
    members = zip_members(path)
    if (total := sum(member.file_size for member in members)) > MAX_BYTES:
        raise CheckpointError(f"it unpacks to {total} bytes, the limit is {MAX_BYTES}: it may be hostile")
    if others := [member.filename for member in members if not member.filename.endswith(".npy")]:
        raise CheckpointError(
            f"expected a zip file of .npy files (.npz) or one of torch.save, found {others[0]!r} in it"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return {member.filename.removesuffix(".npy"): read_npy(archive.read(member)) for member in members}
    except CheckpointError:
        raise
    # RuntimeError: encrypted, or a compression that is not known.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the zip file is damaged or of an unusual kind: {error}") from error


def zip_members(path: Path) -> list[zipfile.ZipInfo]:
    """What a zip file's directory lists.

    Raises:
        CheckpointError: it is damaged, or a name leads out of the archive: names are not used as paths here, but such
            a one means no good.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error) as error:
        raise CheckpointError(f"the zip file is damaged: {error}; fetch it again") from error
    for name in (member.filename for member in members):
        inner = PurePosixPath(name.replace("\\", "/"))
        if inner.is_absolute() or ".." in inner.parts or ":" in name:
            raise CheckpointError(f"a member is named {name!r}, which leads out of the archive: it may be hostile")
    return members
