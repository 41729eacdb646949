"""Other people's codebooks and vocoders -> checkpoints in semtok's own format.

`import_speechbrain`, `import_kmeans` and `import_unit_vocoder` are public. An encoder that is kept by reference is
described by its `config.json`; its weights are not fetched.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from semtok.checkpoints.config import CONFIG, ENCODER, FORMAT_VERSION, CheckpointConfig, TokenizerConfig
from semtok.checkpoints.encoders import empty_encoder, read_encoder
from semtok.checkpoints.hub import Repository, resolve
from semtok.checkpoints.native import (
    Native,
    new_tokenizer_config,
    read_checkpoint_config,
    write_tokenizer,
    write_vocoder,
)
from semtok.checkpoints.readers import find_reader
from semtok.checkpoints.speechbrain.reader import SpeechBrain
from semtok.checkpoints.unit_vocoder import read_unit_vocoder
from semtok.checkpoints.untrusted import read_centroids
from semtok.codebooks.layers import Layer, check_layers, deepest, in_order
from semtok.encoder.encoder import Encoder
from semtok.errors import CheckpointError
from semtok.networks.config import VocoderConfig

_PREPROCESSOR = "preprocessor_config.json"


def import_speechbrain(
    name: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    layers: Sequence[Layer] | None = None,
    revision: str | None = None,
    encoder: str | None = None,
    dataset: str | None = None,
    num_clusters: int | None = None,
) -> CheckpointConfig:
    """Saves a repository in SpeechBrain's layout, with a tokenizer, a vocoder or both, in semtok's format.

    Args:
        name: hub id or folder.
        folder: to save to.
        layers: of the tokenizer alone; the vocoder keeps all.
        revision: of the hub id.
        encoder: hub id or folder of the encoder, instead of the one that the codebooks are known to be made with.
        dataset: what the k-means were fitted on, by the name of its folder or files, where there are several.
        num_clusters: size of the codebooks, where there are several.

    Returns:
        What was saved: the sections of the tokenizer, of the vocoder, or of both.

    Raises:
        CheckpointError: as in `Tokenizer.from_pretrained`; or the repository is semtok's own, or the folder holds
            another checkpoint. Nothing is written then.
        LayerError: the repository lacks a layer, or one is asked for twice.
    """
    target, source = Path(folder), resolve(name, revision=revision)
    if isinstance(find_reader(source), Native):
        raise CheckpointError(f"{os.fspath(name)} is in semtok's own format: load it as it is")
    reader = SpeechBrain(dataset, num_clusters)
    layout = reader.layout(source, encoder=encoder)
    saved = CheckpointConfig(FORMAT_VERSION)
    if layout.codebooks:
        tokenizer = reader.tokenizer_parts(source, layers=layers, encoder=encoder)
        load = read_encoder if tokenizer.config.encoder == ENCODER else empty_encoder
        model = load(tokenizer.encoder, deepest(tokenizer.centroids, tokenizer.config.mixtures))
        config = tokenizer.config.select(in_order(tokenizer.centroids), owner="the repository")
        saved = dataclasses.replace(saved, tokenizer=config)
    if layout.has_vocoder:
        vocoder = reader.vocoder_parts(source)
        network = vocoder.network(source.name)
        saved = dataclasses.replace(saved, vocoder=vocoder.config)
    for section in (saved.tokenizer, saved.vocoder):
        if section is not None:
            _check_target(target, section.fingerprint)
    if saved.tokenizer is not None:
        write_tokenizer(target, saved.tokenizer, tokenizer.centroids, model)
    if saved.vocoder is not None:
        write_vocoder(target, saved.vocoder, network)
    return saved


def import_kmeans(
    files: Mapping[int, str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    encoder: str,
    encoder_revision: str | None = None,
) -> TokenizerConfig:
    """Saves a tokenizer of k-means files and the encoder that they were made with, in semtok's format.

    Args:
        files: by encoder layer, each in one of the formats of `semtok.checkpoints.untrusted.read_centroids`.
        folder: to save to.
        encoder: hub id, which is saved by reference with its commit, or a folder, whose weights are saved beside.
        encoder_revision: branch, tag or commit of the hub id.

    Returns:
        What was saved.

    Raises:
        CheckpointError: files are missing, damaged, hostile or of another format; the centroids are not as wide as the
            encoder's features; it is of an unsupported family; or the folder holds another checkpoint. Nothing is
            written then.
        LayerError: a layer that the encoder has not.
    """
    source = resolve(encoder, revision=encoder_revision)
    described = source.read_json(CONFIG)
    dim, depth = described.get("hidden_size"), described.get("num_hidden_layers")
    if not isinstance(dim, int) or not isinstance(depth, int):
        raise CheckpointError(
            f"{encoder} is no encoder of transformers: its {CONFIG} has no hidden_size and num_hidden_layers"
        )
    layers = check_layers(sorted(files), range(depth + 1), owner=f"the encoder {encoder}")
    centroids: dict[Layer, list[Tensor]] = {layer: [read_centroids(files[layer])] for layer in layers}
    for layer in layers:
        (points,) = centroids[layer]
        if points.shape[1] != dim:
            raise CheckpointError(
                f"{os.fspath(files[layer])} has centroids of {points.shape[1]} dimensions, the features of {encoder} "
                f"have {dim}: give the encoder that they were made with"
            )
    normalize = normalizes(source)
    load = read_encoder if source.folder else empty_encoder
    model = load(source, max(layers))
    name = ENCODER if source.folder else encoder
    section = new_tokenizer_config(Encoder(model, normalize=normalize), centroids, name, source.commit)
    _check_target(Path(folder), section.fingerprint)
    write_tokenizer(Path(folder), section, centroids, model)
    return section


def import_unit_vocoder(
    generator: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str],
) -> VocoderConfig:
    """Saves a unit HiFi-GAN of fairseq or textlesslib as the vocoder of a tokenizer, in semtok's format.

    Args:
        generator: file of its weights, such as `g_00500000`.
        folder: to save to, perhaps that of the tokenizer.
        config: its `config.json`.
        tokenizer: hub id or folder of the tokenizer that makes the units, of one row.

    Returns:
        What was saved.

    Raises:
        CheckpointError, ConfigError: as `semtok.checkpoints.unit_vocoder.read_unit_vocoder`; or the folder holds
            another checkpoint. Nothing is written then.
    """
    source = resolve(tokenizer)
    parts = find_reader(source).tokenizer_parts(source, layers=None, encoder=None)
    vocoder = read_unit_vocoder(generator, config, parts.config)
    network = vocoder.network(os.fspath(generator))
    _check_target(Path(folder), vocoder.config.fingerprint)
    write_vocoder(Path(folder), vocoder.config, network)
    return vocoder.config


def normalizes(encoder: Repository) -> bool:
    """Whether an encoder takes input of zero mean and unit variance.

    The config of its feature extractor says so, or that of the tokenizer whose folder it is in.

    Raises:
        CheckpointError: neither of them is there.
    """
    if encoder.read_json(CONFIG).get("model_type") == "wav2vec2-bert":
        return True  # its mel bands always are
    if encoder.find(_PREPROCESSOR) is not None:
        return bool(encoder.read_json(_PREPROCESSOR).get("do_normalize", True))
    if encoder.folder is not None and encoder.folder.resolve().name == ENCODER:
        above = Repository(encoder.name, encoder.folder.resolve().parent)
        if Native().recognises(above) and (tokenizer := read_checkpoint_config(above).tokenizer) is not None:
            return tokenizer.normalize
    raise CheckpointError(
        f"{encoder.name} has no {_PREPROCESSOR}, which says by do_normalize whether its input is normalised: put the "
        f"one that it was published with beside its {CONFIG}. `semtok study` and `select` also take --normalize or "
        "--no-normalize"
    )


def _check_target(folder: Path, fingerprint: str) -> None:
    if not (folder / CONFIG).exists():
        return
    config = read_checkpoint_config(Repository(str(folder), folder))
    section = config.tokenizer or config.vocoder
    if section is not None and section.fingerprint != fingerprint:
        raise CheckpointError(
            f"{folder} holds another checkpoint, of tokenizer {section.fingerprint}, and this is of {fingerprint}: "
            "import to another folder"
        )
