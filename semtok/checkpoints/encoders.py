"""Speech encoders in the layout of transformers: `config.json` and weights, in one file or in shards."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from semtok.checkpoints.config import CONFIG, ENCODER
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.tensors import write_tensors
from semtok.encoder.families import FAMILIES
from semtok.errors import CheckpointError, SemtokError
from semtok.support.atomic import atomic_write

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "model.safetensors"
_PICKLED_WEIGHTS = "pytorch_model.bin"
# The one weight that serves training only; some published encoders go without.
_MASK_EMBEDDING = "masked_spec_embed"
# Held while transformers is imported, as other threads would see a half of it, and while a model is loaded, which
# changes transformers' global state.
_TRANSFORMERS_LOCK = threading.Lock()


def read_encoder(repository: Repository, layers: int) -> PreTrainedModel:
    """The SSL model of a repository in transformers' layout with its lowest `layers` layers (at least one), in float32.

    Raises:
        CheckpointError: files are missing or corrupt, do not fit each other, or hold a model of no supported family.
        SemtokError: transformers cannot be used in this environment.
    """
    from safetensors import SafetensorError

    config, model_class = _config_and_class(repository, layers)
    config.num_hidden_layers = max(layers, 1)
    weights = _fetch_weights(repository)
    try:
        with quiet_transformers():
            model, report = model_class.from_pretrained(
                weights.parent,
                config=config,
                dtype=torch.float32,
                use_safetensors=".safetensors" in weights.name,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
            )
    except ImportError as error:
        raise _environment_error(error) from error
    except (SafetensorError, UnpicklingError, EOFError, OSError, RuntimeError, ValueError) as error:
        # An errno is the operating system's: no permission, no such device, and nothing to do with the content.
        advice = "" if isinstance(error, OSError) and error.errno else "; fetch it again"
        raise CheckpointError(
            f"{weights} ({weights.stat().st_size} bytes) cannot be loaded: {error}{advice}"
        ) from error
    missing = set(report["missing_keys"])
    if wrong := sorted(missing - {_MASK_EMBEDDING}) + sorted(report["mismatched_keys"]):
        raise CheckpointError(f"{weights} does not fit the {CONFIG} beside it; missing or of another shape: {wrong}")
    if _MASK_EMBEDDING in missing:
        model.masked_spec_embed.data.zero_()  # it was drawn at random
    return model


def empty_encoder(repository: Repository, layers: int) -> PreTrainedModel:
    """The model that `read_encoder` gives, without weights: on the meta device, from `config.json` alone."""
    config, model_class = _config_and_class(repository, layers)
    with torch.device("meta"):
        model: PreTrainedModel = model_class(config)
    return model


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


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bar, no report of the layers left out; and random numbers stay as they are."""
    with _TRANSFORMERS_LOCK, torch.random.fork_rng(devices=[]):
        from transformers.utils import logging

        verbosity = logging.get_verbosity()
        hook = logging.set_tqdm_hook(lambda factory, args, kwargs: logging.EmptyTqdm(*args, **kwargs))
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_tqdm_hook(hook)
            logging.set_verbosity(verbosity)


def _config_and_class(repository: Repository, layers: int) -> tuple[Any, Any]:
    """The config and the class of the model in a repository, which has at least `layers` layers."""
    entries = repository.read_json(CONFIG)
    path = repository.file(CONFIG)
    kind = entries.get("model_type")
    if kind not in FAMILIES:
        raise CheckpointError(f"{path.parent}: an encoder of type {kind!r}, supported are {', '.join(FAMILIES)}")
    # Imported before any weights are read, so that a failure is not blamed on them.
    config_class, model_class = _import_classes(kind)
    try:
        config = config_class.from_dict(entries)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} describes no encoder that transformers knows: {error}") from error
    if layers > config.num_hidden_layers:
        raise CheckpointError(
            f"the encoder {repository.name} has {config.num_hidden_layers} layers, {layers} are needed"
        )
    return config, model_class


def _import_classes(kind: str) -> tuple[Any, Any]:
    """The classes of transformers for configs and models of a `model_type`."""
    try:
        with _TRANSFORMERS_LOCK:
            import transformers
            from transformers import CONFIG_MAPPING

            config_class = CONFIG_MAPPING[kind]
            # The model of WavLMConfig is WavLMModel, and so in all families.
            return config_class, getattr(transformers, config_class.__name__.removesuffix("Config") + "Model")
    except Exception as error:  # packages that do not fit each other raise what they like
        raise _environment_error(error) from error


def _environment_error(error: Exception) -> SemtokError:
    """The error for a checkpoint that cannot be loaded because transformers cannot be used, whatever the checkpoint."""
    return SemtokError(
        f"transformers cannot be used here, whatever the checkpoint, because of {type(error).__name__}: {error}. "
        "If python -c 'from transformers import AutoModel' fails too, packages are missing or do not fit each other"
    )


def _fetch_weights(repository: Repository) -> Path:
    """The file of weights, or the index of their shards, all of which are then beside it."""
    indexes = (f"{WEIGHTS}.index.json", f"{_PICKLED_WEIGHTS}.index.json")
    path = repository.file(WEIGHTS, _PICKLED_WEIGHTS, *indexes)
    if path.name in indexes:
        shards = repository.read_json(path.name).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise CheckpointError(f"{path} has no weight_map, which names the file of each weight: fetch it again")
        suffix = Path(path.name.removesuffix(".index.json")).suffix
        for shard in sorted(set(map(str, shards.values()))):
            if not shard.endswith(suffix) or Path(shard).name != shard:
                raise CheckpointError(f"{path} names {shard!r}, which is no shard beside it: it may be hostile")
            repository.file(shard)
    return path
