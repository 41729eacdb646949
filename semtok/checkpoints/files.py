"""A checkpoint's files <-> configs, tensors and the encoder.

A checkpoint is a folder, local or on the hub. `config.json`, `centroids.safetensors` and, unless the encoder has a hub
id of its own, `encoder/` make a tokenizer; `config.json` and `vocoder.safetensors` make a vocoder. Every safetensors
file carries the tokenizer's fingerprint, so that files of different checkpoints are never taken for one.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semtok.checkpoints.config import FORMAT_VERSION, CheckpointConfig, TokenizerConfig, read_config
from semtok.checkpoints.hub import Repository
from semtok.encoder.families import FAMILIES
from semtok.errors import CheckpointError, ConfigError
from semtok.files.atomic import atomic_write
from semtok.networks.config import VocoderConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG = "config.json"
CENTROIDS = "centroids.safetensors"
VOCODER = "vocoder.safetensors"
ENCODER = "encoder"
WEIGHTS = "model.safetensors"

# The one weight that serves training only; some published encoders go without.
_MASK_EMBEDDING = "masked_spec_embed"
# For the state of transformers, which is global and changed while a model is loaded.
_TRANSFORMERS_LOCK = threading.Lock()


def read_checkpoint_config(repository: Repository) -> CheckpointConfig:
    """Reads `config.json`.

    Raises:
        CheckpointError: it is missing, not JSON, or of another format.
        ConfigError: it has unknown, missing or ill-typed entries, or some that contradict each other.
    """
    path = repository.file(CONFIG)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    version = entries.get("format_version") if isinstance(entries, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format_version {version!r}, this semtok reads {FORMAT_VERSION}: "
            "it is no semtok checkpoint, or one of another version (upgrade semtok)"
        )
    return read_config(entries, CheckpointConfig, str(path))


def add_to_config(folder: Path, section: TokenizerConfig | VocoderConfig) -> CheckpointConfig:
    """The config of a folder once it holds this section; nothing is written yet.

    Raises:
        CheckpointError: the folder holds the other section with another fingerprint.
    """
    name = "tokenizer" if isinstance(section, TokenizerConfig) else "vocoder"
    config = CheckpointConfig(FORMAT_VERSION)
    if (folder / CONFIG).exists():
        config = read_checkpoint_config(Repository(str(folder), folder))
    try:
        return dataclasses.replace(config, **{name: section})  # type: ignore[arg-type]
    except ConfigError as error:
        raise CheckpointError(f"cannot save to {folder}: {error}; save to another folder") from error


def write_checkpoint_config(folder: Path, config: CheckpointConfig) -> None:
    """Writes `config.json`: last of a checkpoint's files, so that a folder without it is not whole."""
    entries = dataclasses.asdict(config, dict_factory=lambda pairs: {k: v for k, v in pairs if v is not None})
    with atomic_write(folder / CONFIG) as aside:
        aside.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


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


def read_centroids(repository: Repository, config: TokenizerConfig, layers: Sequence[int]) -> dict[int, list[Tensor]]:
    """Centroids [codebook_size, dim] of the stages of these layers, in this order; errors as of `read_tensors`."""
    counts = dict(zip(config.layers, config.stages, strict=True))
    names = {layer: [_centroids_name(layer, stage) for stage in range(counts[layer])] for layer in layers}
    path = repository.file(CENTROIDS)
    tensors = read_tensors(path, config.fingerprint, [name for stages in names.values() for name in stages])
    return {layer: [tensors[name] for name in stages] for layer, stages in names.items()}


def write_centroids(folder: Path, centroids: Mapping[int, Sequence[Tensor]], fingerprint: str) -> None:
    """Writes centroids [codebook_size, dim] by layer and stage."""
    stored = {
        _centroids_name(layer, stage): points
        for layer, stages in sorted(centroids.items())
        for stage, points in enumerate(stages)
    }
    write_tensors(folder / CENTROIDS, stored, fingerprint)


def _centroids_name(layer: int, stage: int) -> str:
    return f"layer_{layer}" if stage == 0 else f"layer_{layer}_stage_{stage + 1}"


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


def read_encoder(repository: Repository, layers: int) -> PreTrainedModel:
    """The SSL model of a repository in transformers' layout with its lowest `layers` layers (at least one), in float32.

    Raises:
        CheckpointError: files are missing or corrupt, do not fit each other, or hold a model of no supported family.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel

    folder = repository.file(CONFIG).parent
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{folder / CONFIG} describes no encoder that transformers knows: {error}") from error
    if config.model_type not in FAMILIES:
        families = ", ".join(FAMILIES)
        raise CheckpointError(f"{folder}: an encoder of type {config.model_type!r}, supported are {families}")
    if layers > config.num_hidden_layers:
        raise CheckpointError(
            f"the encoder {repository.name} has {config.num_hidden_layers} layers, {layers} are needed"
        )
    config.num_hidden_layers = max(layers, 1)
    weights = repository.file(WEIGHTS, "pytorch_model.bin")
    try:
        with _quiet_transformers():
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=weights.suffix == ".safetensors",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (SafetensorError, UnpicklingError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{weights} ({weights.stat().st_size} bytes) cannot be loaded: {error}; fetch it again"
        ) from error
    missing = set(report["missing_keys"])
    if wrong := sorted(missing - {_MASK_EMBEDDING}) + sorted(report["mismatched_keys"]):
        raise CheckpointError(f"{weights} does not fit the {CONFIG} beside it; missing or of another shape: {wrong}")
    if _MASK_EMBEDDING in missing:
        model.masked_spec_embed.data.zero_()  # it was drawn at random
    return model


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bar, no report of the layers left out; and random numbers stay as they are."""
    from transformers.utils import logging

    with _TRANSFORMERS_LOCK, torch.random.fork_rng(devices=[]):
        verbosity = logging.get_verbosity()
        hook = logging.set_tqdm_hook(lambda factory, args, kwargs: logging.EmptyTqdm(*args, **kwargs))
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_tqdm_hook(hook)
            logging.set_verbosity(verbosity)


def read_tokenizer_encoder(repository: Repository, config: TokenizerConfig, layers: int) -> PreTrainedModel:
    """The lowest `layers` layers of a checkpoint's encoder, which is beside its config or has a hub id of its own."""
    source = encoder_repository(repository, config)
    if config.encoder == ENCODER:
        read_tensors(source.file(WEIGHTS), config.fingerprint, names=[])
    return read_encoder(source, layers)


def encoder_repository(repository: Repository, config: TokenizerConfig) -> Repository:
    """Where the encoder of a checkpoint's tokenizer is."""
    if config.encoder == ENCODER:
        return dataclasses.replace(repository, subfolder=ENCODER)
    # Never a folder of that name: the revision is part of the tokenizer.
    return dataclasses.replace(repository, name=config.encoder, folder=None, revision=config.encoder_revision)


def write_encoder(folder: Path, model: PreTrainedModel, layers: int, fingerprint: str) -> None:
    """Writes the lowest `layers` layers (at least one) of the SSL model in transformers' layout to `folder/encoder`."""
    target, layers = folder / ENCODER, max(layers, 1)
    target.mkdir(parents=True, exist_ok=True)
    above = tuple(f"encoder.layers.{number}." for number in range(layers, model.config.num_hidden_layers))
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(above)}
    write_tensors(target / WEIGHTS, weights, fingerprint)
    config = model.config.to_dict()
    config |= {"architectures": [type(model).__name__], "num_hidden_layers": layers, "dtype": "float32"}
    config.pop("_name_or_path", None)
    with atomic_write(target / CONFIG) as aside:
        aside.write_text(json.dumps(config, indent=2, default=str) + "\n", encoding="utf-8")
