"""Tensors by name, from safetensors and from what `torch.save` wrote."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from semtok.checkpoints.untrusted.arrays import ZIP_MAGIC, zip_members
from semtok.checkpoints.untrusted.source import reading
from semtok.errors import CheckpointError

# What torch.save wrote before 1.6 begins with: the pickle of this number.
_LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, in the format's definition


def read_state_dict(
    path: str | os.PathLike[str], *, wanted: Callable[[str], bool] = lambda _: True, within: str = ""
) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a dict of tensors that `torch.save` wrote, on the CPU.

    Those of floating point are float32, whatever they are stored in.

    Args:
        path: of the file.
        wanted: which tensors, by name; the others of a `.safetensors` file are not read.
        within: the name under which `torch.save` may have been given them, beside others.

    Raises:
        CheckpointError: the file is missing, damaged, of another format, or holds anything but names and tensors; a
            tensor holds NaN or infinite values.
    """
    with reading(path) as path:
        content = read_safetensors(path, wanted=wanted) if is_safetensors(path) else read_torch(path, within=within)
        if isinstance(content, Tensor):
            raise CheckpointError("it holds a single tensor: expected a dict of tensors, a state dict")
        tensors = {name: tensor for name, tensor in content.items() if wanted(name)}
        check_finite(tensors)
        return tensors


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises `CheckpointError` for tensors that hold NaN or infinite values, or values whose sum is infinite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.sum().isfinite():
            raise CheckpointError(
                f"its tensor {name[:100]!r} has values that are NaN, infinite or too large: fetch it again"
            )


def is_safetensors(path: Path) -> bool:
    """Whether it begins with the length of a header, eight bytes, that the format allows, and then with JSON.

    The letters that other formats begin with make a far larger number. The length may exceed the file, which is then
    truncated.
    """
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _MAX_SAFETENSORS_HEADER


def read_safetensors(path: Path, *, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose names are `wanted`. The library checks the header against the file.

    Raises:
        CheckpointError: it is damaged: the header promises what is not there, or parts of the file to several tensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: _plain(file.get_tensor(name)) for name in file.keys() if wanted(name)}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"it is truncated, damaged or no safetensors file: {error}; fetch it again") from error


def is_torch(path: Path) -> bool:
    """Whether it is a zip file (torch.save since 1.6), or begins as torch.save's files did before."""
    with path.open("rb") as file:
        start = file.read(len(_LEGACY_MAGIC))
    return start.startswith(ZIP_MAGIC) or start == _LEGACY_MAGIC


def read_torch(path: Path, *, ignore: tuple[type, ...] = (), within: str = "") -> Tensor | dict[str, Tensor]:
    """The tensor or the dict of tensors in a file of `torch.save`.

    Args:
        path: of the file.
        ignore: types of values that may stand beside the tensors, and are left out.
        within: name of the dict in a dict that is meant, if there is one.

    Raises:
        CheckpointError: it is damaged, holds something else, or expands to more than its own size.
    """
    if not is_torch(path):
        raise CheckpointError("expected weights, a safetensors file or one of torch.save: its content begins otherwise")
    _check_size(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # On a file that is damaged on purpose torch raises what it likes.
    except Exception as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"the file asks for {asked[1]!r}" if asked else f"torch says: {str(error)[:200]}"
        raise CheckpointError(
            f"it cannot be read as weights alone: {what}. It is hostile, damaged or holds something else, and was not "
            "run. If you trust its source, load it with the library that wrote it and save its state_dict()"
        ) from error
    if within and isinstance(content, dict):
        content = content.get(within, content)
    tensors = {"": content} if isinstance(content, Tensor) else content
    if not isinstance(tensors, dict):
        raise CheckpointError(f"expected names and tensors, found {type(content).__name__}")
    tensors = {name: value for name, value in tensors.items() if type(value) not in ignore}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f"expected names and tensors, found {str(name)[:50]!r}: {type(tensor).__name__}")
        odd = tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.device.type != "cpu"
        if odd or type(tensor) not in (Tensor, torch.nn.Parameter):
            raise CheckpointError(
                f"expected plain tensors, {name[:50]!r} is sparse, quantized, nested or without content"
            )
    size = path.stat().st_size
    # Views may repeat what is stored once; weights that are tied do so twice, not a million times.
    if (total := sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())) > 2 * size:
        raise CheckpointError(f"its tensors expand to {total} bytes out of a file of {size}: it may be hostile")
    plain = {name: _plain(tensor) for name, tensor in tensors.items()}
    return plain[""] if isinstance(content, Tensor) else plain


def _check_size(path: Path) -> None:
    """torch.save compresses nothing, so that what is in a zip file of it is no larger than the file."""
    with path.open("rb") as file:
        members = zip_members(path) if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC else []
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if compressed or sum(member.file_size for member in members) > path.stat().st_size:
        raise CheckpointError("it unpacks to more than its size, which torch.save's files do not: it may be hostile")


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().resolve_conj().resolve_neg()
    # A copy, as the file that the memory may be mapped from may change.
    return tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor.clone()
