"""Safetensors files of a checkpoint, each with the tokenizer's fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.untrusted.source import loading, reading
from semtok.checkpoints.untrusted.state_dict import check_finite
from semtok.errors import CheckpointError, ConfigError, SemtokError
from semtok.networks.outline import without_weights
from semtok.support.atomic import atomic_write

Network = TypeVar("Network", bound=nn.Module)


def read_tensors(path: Path, fingerprint: str, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint's safetensors file as float32, all of them or those named.

    Raises:
        CheckpointError: the file is truncated, no safetensors, of another tokenizer, lacks a name, or has values that
            are NaN or infinite.
    """
    from safetensors import safe_open

    with loading(path), safe_open(path, framework="pt") as file:
        owner = (file.metadata() or {}).get("fingerprint")
        if owner != fingerprint:
            raise CheckpointError(
                f"{path} is of tokenizer {owner}, {CONFIG} of tokenizer {fingerprint}: "
                "the files of a checkpoint belong together, fetch or save them anew"
            )
        names = list(file.keys()) if names is None else names
        if missing := sorted(set(names) - set(file.keys())):
            raise CheckpointError(f"{path} lacks the tensors {missing[:20]}; it has {sorted(file.keys())[:20]}")
        # A copy, as the file's memory may change.
        tensors = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in names}
    with reading(path):
        check_finite(tensors)
    return tensors


def load_network(build: Callable[[], Network], weights: Mapping[str, Tensor], where: str) -> Network:
    """The network that `build` makes, with these weights in place of its own.

    It is built on the meta device: whatever sizes a config gives, no memory is taken but that of the weights.

    Raises:
        CheckpointError: the weights do not fit; `where` is the name of their repository.
        ConfigError: as `build`.
    """
    try:
        with without_weights():
            network = build()
        network.load_state_dict(weights, assign=True)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except SemtokError:
        raise
    # Sizes that contradict each other make torch's modules raise any of these.
    except (RuntimeError, ValueError, TypeError, ArithmeticError, AssertionError, LookupError) as error:
        raise CheckpointError(f"the weights of {where} do not fit its config: {str(error)[:1000]}") from error
    return network


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
