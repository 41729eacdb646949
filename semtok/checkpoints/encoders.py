"""Speech encoders in the layout of transformers: `config.json` and weights, in one file or in shards."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semtok.checkpoints.config import CONFIG, ENCODER
from semtok.checkpoints.encoder_config import CONFIGS, encoder_entries
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.tensors import write_tensors
from semtok.checkpoints.untrusted import read_state_dict
from semtok.checkpoints.untrusted.source import loading
from semtok.errors import CheckpointError, SemtokError
from semtok.support.atomic import atomic_write

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "model.safetensors"
_PICKLED_WEIGHTS = "pytorch_model.bin"
# The one weight that serves training only; some published encoders go without.
_MASK_EMBEDDING = "masked_spec_embed"
_SPARE_WEIGHTS = 1 << 20
_LAYER = re.compile(r"(?:^|\.)encoder\.layers\.(\d+)\.")
# Held while transformers is imported, as other threads would see a half of it, and while a model is loaded, which
# changes transformers' global state.
_TRANSFORMERS_LOCK = threading.Lock()


def read_encoder(repository: Repository, layers: int) -> PreTrainedModel:
    """The SSL model of a repository in transformers' layout with its lowest `layers` layers (at least one), in float32.

    Only the weights of these layers are read, and only if the files have as many as the config asks for.

    Raises:
        CheckpointError: files are missing or corrupt, do not fit each other, hold a model of no supported family, or
            weights that are NaN or infinite.
        ConfigError: `config.json` has ill-typed entries, or some out of bounds.
        SemtokError: transformers cannot be used in this environment.
    """
    config, model_class = _config_and_class(repository, layers)
    config.num_hidden_layers = max(layers, 1)
    path, files = _fetch_weights(repository)
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= read_state_dict(file, wanted=lambda name: not _is_above(name, config.num_hidden_layers))
    model, report = load_model(model_class, config, weights, path)
    missing = set(report["missing_keys"])
    if wrong := sorted(missing - {_MASK_EMBEDDING}) + sorted(report["mismatched_keys"]):
        raise CheckpointError(f"{path} does not fit the {CONFIG} beside it; missing or of another shape: {wrong[:20]}")
    if _MASK_EMBEDDING in missing:
        model.masked_spec_embed.data.zero_()  # it was drawn at random
    return model


def load_model(
    model_class: Any, config: Any, weights: dict[str, Tensor], path: Path
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """A model of transformers with these weights, in float32, and transformers' report of what is missing.

    Raises:
        CheckpointError: the config asks for far more than there is, or transformers refuses; `path` is that of the
            weights.
    """
    wanted = sum(tensor.numel() for tensor in _without_weights(model_class, config, path).parameters())
    # Weights that are missing or of another shape are in the report, once so many numbers are known to fit into memory.
    if wanted > 2 * (stored := sum(tensor.numel() for tensor in weights.values())) + _SPARE_WEIGHTS:
        raise CheckpointError(
            f"{path} does not fit the {CONFIG} beside it: it has {stored} numbers for a model of {wanted}"
        )
    try:
        with loading(path), quiet_transformers():
            # Not from the folder: transformers would look for adapters, indexes and other weights there.
            model, report = model_class.from_pretrained(
                None,
                config=config,
                state_dict=weights,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except ImportError as error:
        raise _environment_error(error) from error
    return model, report


def empty_encoder(repository: Repository, layers: int) -> PreTrainedModel:
    """The model of a repository, from `config.json` alone and on the meta device; errors as in `read_encoder`."""
    config, model_class = _config_and_class(repository, layers)
    return _without_weights(model_class, config, repository.file(CONFIG))


def _without_weights(model_class: Any, config: Any, path: Path) -> PreTrainedModel:
    """The model of a config on the meta device, where weights take no memory; `path` is for the error."""
    with loading(path), quiet_transformers(), torch.device("meta"):
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
    if not isinstance(kind, str) or kind not in CONFIGS:
        raise CheckpointError(f"{path.parent}: an encoder of type {kind!r}, supported are {', '.join(CONFIGS)}")
    needed = encoder_entries(entries, kind, str(path))
    # Imported before any weights are read, so that a failure is not blamed on them.
    config_class, model_class = _import_classes(kind)
    with loading(path):
        config = config_class(**needed)
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


def _fetch_weights(repository: Repository) -> tuple[Path, list[Path]]:
    """The file of weights, or the index of their shards; and the files that hold the weights."""
    indexes = (f"{WEIGHTS}.index.json", f"{_PICKLED_WEIGHTS}.index.json")
    path = repository.file(WEIGHTS, _PICKLED_WEIGHTS, *indexes)
    if path.name not in indexes:
        return path, [path]
    shards = repository.read_json(path.name).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(f"{path} has no weight_map, which names the file of each weight: fetch it again")
    suffix = Path(path.name.removesuffix(".index.json")).suffix
    names = sorted(set(map(str, shards.values())))
    for shard in names:
        if not shard.endswith(suffix) or Path(shard).name != shard:
            raise CheckpointError(f"{path} names {shard!r}, which is no shard beside it: it may be hostile")
    return path, [repository.file(shard) for shard in names]


def _is_above(name: str, layers: int) -> bool:
    """Whether a weight is of a transformer layer above the lowest `layers`."""
    layer = _LAYER.search(name)
    return layer is not None and int(layer[1]) >= layers
