"""Models of transformers that judge, from a folder or the hub; nothing in them is executed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.encoders import WEIGHTS
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.transformers_models import quiet_transformers
from semtok.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREPROCESSOR = "preprocessor_config.json"


def find_model(name: str, *, local_files_only: bool = False) -> Repository:
    """Where a model is: a folder, or a hub id, with the commit behind an @ if it is to be that one.

    Raises:
        CheckpointError: neither.
    """
    if Path(name).is_dir():
        return Repository(name, Path(name))
    if not is_hub_id(name):
        raise CheckpointError(
            f"{name!r} is no model: expected a folder (looked from {Path.cwd()}) or a hub id owner/name"
        )
    repository, _, revision = name.partition("@")
    return Repository(repository, None, revision or None, local_files_only=local_files_only)


def is_hub_id(name: str) -> bool:
    """Whether a name is a hub id, owner/name or owner/name@revision, and no folder."""
    return not Path(name).is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) is not None


def fetch_files(repository: Repository, needed: Sequence[tuple[str, ...]], optional: Sequence[str] = ()) -> Path:
    """The folder with a model's files: config, weights, one of each tuple of `needed`, and the `optional` there are.

    Raises:
        CheckpointError: a needed one is not there.
    """
    folder = repository.file(CONFIG).parent
    for names in ((WEIGHTS, "pytorch_model.bin"), *needed):
        repository.file(*names)
    for name in optional:
        repository.find(name)
    return folder


def read_architecture(repository: Repository) -> str:
    """The class that `config.json` names.

    Raises:
        CheckpointError: there is no such file, or it is not of transformers.
    """
    entries, path = repository.read_json(CONFIG), repository.file(CONFIG)
    try:
        return str(entries["architectures"][0])
    except (LookupError, TypeError) as error:
        raise CheckpointError(
            f"{path} names no architecture ({type(error).__name__}): it is not of a model of transformers"
        ) from error


def load_model(auto_class: Any, folder: Path, dtype: torch.dtype, device: str | torch.device) -> PreTrainedModel:
    """The model in a folder, in eval mode.

    Raises:
        CheckpointError: it is corrupt, or lacks weights.
    """
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            model, report = auto_class.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, local_files_only=True, trust_remote_code=False
            )
    except (SafetensorError, UnpicklingError, EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"the model in {folder} cannot be loaded: {error}; fetch it again") from error
    if report["missing_keys"]:
        raise CheckpointError(
            f"the weights in {folder} lack {sorted(report['missing_keys'])}: they are of another model"
        )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded
