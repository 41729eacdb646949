"""Safetensors files of a checkpoint, each with the tokenizer's fingerprint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from semtok.checkpoints.config import CONFIG
from semtok.errors import CheckpointError
from semtok.support.atomic import atomic_write


def read_tensors(path: Path, fingerprint: str, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint's safetensors file as float32, all of them or those named.

    Raises:
        CheckpointError: the file is truncated, no safetensors, of another tokenizer, or lacks a name.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("fingerprint")
            if found != fingerprint:
                raise CheckpointError(
                    f"{path} is of tokenizer {found}, {CONFIG} of tokenizer {fingerprint}: "
                    "the files of a checkpoint belong together, fetch or save them anew"
                )
            names = list(file.keys()) if names is None else names
            if missing := sorted(set(names) - set(file.keys())):
                raise CheckpointError(f"{path} lacks the tensors {missing}; it has {sorted(file.keys())}")
            # A copy, as the file's memory may change.
            return {name: file.get_tensor(name).to(torch.float32, copy=True) for name in names}
    except SafetensorError as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path} ({size} bytes) is truncated or no safetensors file: {error}; fetch it again"
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], fingerprint: str) -> None:
    """Writes a safetensors file; a tensor that half precision holds without loss is stored in half precision."""
    from safetensors.torch import save

    stored = {name: _halved(tensor.detach().cpu()).contiguous() for name, tensor in tensors.items()}
    content = memoryview(save(stored, {"format": "pt", "fingerprint": fingerprint}))
    # safetensors draws the order of the metadata at random; in one order, the same tensors make the same file.
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(bytes(content[8:end])), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with atomic_write(path) as aside:
        aside.write_bytes(b"".join([len(header).to_bytes(8, "little"), header, content[end:]]))


def _halved(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor.float()) else tensor.float()
