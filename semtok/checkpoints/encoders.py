"""Speech encoders in the layout of transformers: `config.json` and weights, in one file or in shards."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import torch
from torch import Tensor

from semtok.checkpoints.config import CONFIG, ENCODER, read_config
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.tensors import write_tensors
from semtok.checkpoints.untrusted import read_state_dict
from semtok.encoder.config import CONFIGS, EncoderConfig
from semtok.encoder.families import assemble, outline
from semtok.encoder.model import SpeechModel
from semtok.errors import CheckpointError
from semtok.support.atomic import atomic_write

WEIGHTS = "model.safetensors"
_PICKLED_WEIGHTS = "pytorch_model.bin"
# The one weight that serves training only; some published encoders go without.
_MASK_EMBEDDING = "masked_spec_embed"
_LAYER = re.compile(r"(?:^|\.)encoder\.layers\.(\d+)\.")
# What torch called the parts of a weight with weight norm before 2.0.
_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
# transformers' classes, which a config names for those who open the model with it.
_ARCHITECTURES = {
    "data2vec-audio": "Data2VecAudioModel",
    "hubert": "HubertModel",
    "unispeech-sat": "UniSpeechSatModel",
    "wav2vec2": "Wav2Vec2Model",
    "wav2vec2-bert": "Wav2Vec2BertModel",
    "wavlm": "WavLMModel",
}


def read_encoder(repository: Repository, layers: int) -> SpeechModel:
    """The SSL model of a repository in transformers' layout with its lowest `layers` layers (at least one), in float32.

    Only the weights of these layers are read, and only if the files have as many as the config asks for.

    Raises:
        CheckpointError: files are missing or corrupt, do not fit each other, hold a model of no supported family, or
            weights that are NaN or infinite.
        ConfigError: `config.json` has ill-typed entries, or some out of bounds.
    """
    config = _read_config(repository, layers)
    path, files = _fetch_weights(repository)
    weights: dict[str, Tensor] = {}
    for file in files:
        tensors = read_state_dict(file, wanted=lambda name: not _is_above(name, config.num_hidden_layers))
        weights |= {_current_name(name, config.model_type): tensor for name, tensor in tensors.items()}
    weights.setdefault(_MASK_EMBEDDING, torch.zeros(config.hidden_size))
    try:
        return assemble(config, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not fit the {CONFIG} beside it; {error}") from error


def empty_encoder(repository: Repository, layers: int) -> SpeechModel:
    """The model of a repository, from `config.json` alone and on the meta device; errors as in `read_encoder`."""
    return outline(_read_config(repository, layers))


def write_encoder(folder: Path, model: SpeechModel, layers: int, fingerprint: str) -> None:
    """Writes the lowest `layers` layers (at least one) of the SSL model in transformers' layout to `folder/encoder`."""
    target, layers = folder / ENCODER, max(layers, 1)
    target.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor for name, tensor in model.state_dict().items() if not _is_above(name, layers)}
    write_tensors(target / WEIGHTS, weights, fingerprint)
    config = dataclasses.asdict(dataclasses.replace(model.config, num_hidden_layers=layers))
    config |= {"architectures": [_ARCHITECTURES[model.config.model_type]], "dtype": "float32"}
    with atomic_write(target / CONFIG) as aside:
        aside.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _read_config(repository: Repository, layers: int) -> EncoderConfig:
    """The config of a model with its lowest `layers` layers, which it has.

    Of the file only the entries of the family's config are read. What else may stand there would choose other weights
    (`transformers_weights`), code (`auto_map`) or arithmetic (`quantization_config`).
    """
    entries, path = repository.read_json(CONFIG), repository.file(CONFIG)
    kind = entries.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIGS:
        raise CheckpointError(f"{path.parent}: an encoder of type {kind!r}, supported are {', '.join(CONFIGS)}")
    known = {field.name for field in dataclasses.fields(CONFIGS[kind])}
    config = read_config({name: value for name, value in entries.items() if name in known}, CONFIGS[kind], str(path))
    if layers > config.num_hidden_layers:
        raise CheckpointError(
            f"the encoder {repository.name} has {config.num_hidden_layers} layers, {layers} are needed"
        )
    return dataclasses.replace(config, num_hidden_layers=max(layers, 1))


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


def _current_name(name: str, kind: str) -> str:
    """The name of a weight in a base model of today, whether or not it is stored under a task's head."""
    name = name.removeprefix(f"{kind.replace('-', '_')}.")
    stem, _, last = name.rpartition(".")
    return f"{stem}.{_WEIGHT_NORM[last]}" if last in _WEIGHT_NORM else name
