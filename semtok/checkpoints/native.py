"""Semtok's own format, read and written.

A checkpoint is a folder, local or on the hub. `config.json`, `centroids.safetensors` and, unless the encoder has a hub
id of its own, `encoder/` make a tokenizer; `config.json` and `vocoder.safetensors` make a vocoder. Every safetensors
file carries the tokenizer's fingerprint, so that files of different checkpoints are never taken for one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from semtok.checkpoints.card import Card, checkpoint_card
from semtok.checkpoints.config import (
    CONFIG,
    ENCODER,
    FORMAT_VERSION,
    CheckpointConfig,
    TokenizerConfig,
    read_config,
    write_config,
)
from semtok.checkpoints.encoders import WEIGHTS, write_encoder
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.parts import TokenizerParts, VocoderParts
from semtok.checkpoints.tensors import read_tensors, write_tensors
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.fingerprint import fingerprint_of, weights_identity
from semtok.codebooks.layers import Layer, check_layers, deepest, in_order
from semtok.errors import CheckpointError, ConfigError
from semtok.networks.config import VocoderConfig

if TYPE_CHECKING:
    from semtok.encoder.encoder import Encoder
    from semtok.encoder.model import SpeechModel

CENTROIDS = "centroids.safetensors"
VOCODER = "vocoder.safetensors"


class Native:
    """The reader of semtok's own format."""

    expected: ClassVar[str] = f"semtok's own have {CONFIG}, {CENTROIDS} and {VOCODER}"

    def recognises(self, repository: Repository) -> bool:
        return repository.find(CONFIG) is not None and "format_version" in repository.read_json(CONFIG)

    def tokenizer_parts(
        self, repository: Repository, *, layers: Sequence[Layer] | None, encoder: str | None
    ) -> TokenizerParts:
        config = read_checkpoint_config(repository).tokenizer
        if config is None:
            raise CheckpointError(f"{repository.name} holds a vocoder alone, no tokenizer")
        chosen = config.layers if layers is None else check_layers(layers, config.layers, owner=repository.name)
        centroids = read_centroids(repository, config, chosen)
        if encoder is not None:
            return TokenizerParts(config, repository.at(encoder), centroids)
        source = encoder_repository(repository, config)
        if config.encoder == ENCODER:
            read_tensors(source.file(WEIGHTS), config.fingerprint, names=[])
        return TokenizerParts(config, source, centroids)

    def vocoder_parts(self, repository: Repository) -> VocoderParts:
        config = read_checkpoint_config(repository).vocoder
        if config is None:
            raise CheckpointError(f"{repository.name} holds a tokenizer alone, no vocoder")
        return VocoderParts(config, read_tensors(repository.file(VOCODER), config.fingerprint))


def write_tokenizer(
    folder: Path, section: TokenizerConfig, centroids: Mapping[Layer, Sequence[Tensor]], model: SpeechModel
) -> None:
    """Saves a tokenizer beside any vocoder, and the model up to the deepest layer unless the section names a hub id.

    Raises:
        CheckpointError: the folder holds a vocoder of another tokenizer. Nothing is written then.
    """
    section = section.select(in_order(section.layers), owner="the tokenizer")
    config = add_to_config(folder, section)
    folder.mkdir(parents=True, exist_ok=True)
    write_centroids(folder, centroids, section.fingerprint)
    if section.encoder == ENCODER:
        write_encoder(folder, model, deepest(centroids, section.mixtures), section.fingerprint)
    write_checkpoint_config(folder, config)


def write_vocoder(folder: Path, section: VocoderConfig, network: nn.Module) -> None:
    """Saves a vocoder beside any tokenizer; errors as in `write_tokenizer`."""
    config = add_to_config(folder, section)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / VOCODER, network.state_dict(), section.fingerprint)
    write_checkpoint_config(folder, config)


def read_checkpoint_config(repository: Repository) -> CheckpointConfig:
    """Reads `config.json`.

    Raises:
        CheckpointError: it is missing, not JSON, or of another format.
        ConfigError: it has unknown, missing or ill-typed entries, or some that contradict each other.
    """
    entries, path = repository.read_json(CONFIG), repository.file(CONFIG)
    version = entries.get("format_version")
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
    write_config(folder / CONFIG, config)


def card_of_folder(folder: Path, name: str) -> Card:
    """What the model card says of a folder that holds a tokenizer, a vocoder or both; `name` is its hub id."""
    return checkpoint_card(read_checkpoint_config(Repository(name, folder)), name)


def mark_for_transformers(folder: Path, model_type: str) -> None:
    """Adds to the `config.json` of a checkpoint what the auto classes of transformers know it by."""
    config = read_checkpoint_config(Repository(str(folder), folder))
    write_checkpoint_config(folder, dataclasses.replace(config, model_type=model_type))


def read_centroids(
    repository: Repository, config: TokenizerConfig, layers: Sequence[Layer]
) -> dict[Layer, list[Tensor]]:
    """Centroids [codebook_size, dim] of the stages of these layers, in this order; errors as in `read_tensors`."""
    names = {
        layer: [_centroids_name(layer, stage) for stage in range(len(config.codebooks[layer]))] for layer in layers
    }
    path = repository.file(CENTROIDS)
    tensors = read_tensors(path, config.fingerprint, [name for stages in names.values() for name in stages])
    return {layer: [tensors[name] for name in stages] for layer, stages in names.items()}


def write_centroids(folder: Path, centroids: Mapping[Layer, Sequence[Tensor]], fingerprint: str) -> None:
    """Writes centroids [codebook_size, dim] by layer and stage."""
    stored = {
        _centroids_name(layer, stage): points
        for layer in in_order(centroids)
        for stage, points in enumerate(centroids[layer])
    }
    write_tensors(folder / CENTROIDS, stored, fingerprint)


def _centroids_name(layer: Layer, stage: int) -> str:
    return f"layer_{layer}" if stage == 0 else f"layer_{layer}_stage_{stage + 1}"


def encoder_repository(repository: Repository, config: TokenizerConfig) -> Repository:
    """Where the encoder of a checkpoint's tokenizer is."""
    if config.encoder == ENCODER:
        return dataclasses.replace(repository, subfolder=ENCODER)
    # Never a folder of that name: the revision is part of the tokenizer.
    return dataclasses.replace(repository, name=config.encoder, folder=None, revision=config.encoder_revision)


def new_tokenizer_config(
    encoder: Encoder, centroids: Mapping[Layer, Sequence[Tensor]], name: str, revision: str | None
) -> TokenizerConfig:
    """The config of a new tokenizer: centroids by layer, ascending; the encoder's hub id and commit, or `ENCODER`."""
    identity = weights_identity(encoder.model) if name == ENCODER else f"{name}@{revision}"
    return TokenizerConfig(
        encoder=name,
        encoder_revision=revision,
        normalize=encoder.normalize,
        codebooks=Codebooks({layer: [len(points) for points in stages] for layer, stages in centroids.items()}),
        dim=encoder.dim,
        sample_rate=encoder.sample_rate,
        hop_length=encoder.hop_length,
        fingerprint=fingerprint_of(identity, centroids, encoder.mixtures),
        normalize_epsilon=encoder.normalize_epsilon,
        mixtures=encoder.mixtures,
    )
