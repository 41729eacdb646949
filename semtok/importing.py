"""Other people's codebooks and vocoders -> checkpoints in semtok's own format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semtok.checkpoints.files import CONFIG, read_checkpoint_config, read_encoder
from semtok.checkpoints.hub import Repository, resolve
from semtok.checkpoints.readers import speechbrain_layout
from semtok.checkpoints.speechbrain.layouts import commit_of, read_json
from semtok.checkpoints.untrusted import read_centroids
from semtok.codebooks.layers import check_layers
from semtok.errors import CheckpointError
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder

_PREPROCESSOR = "preprocessor_config.json"


def import_speechbrain(
    name: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    layers: Sequence[int] | None = None,
    revision: str | None = None,
    encoder: str | None = None,
    dataset: str | None = None,
    num_clusters: int | None = None,
) -> tuple[Tokenizer | None, Vocoder | None]:
    """Saves a repository in SpeechBrain's layout, with a tokenizer, a vocoder or both, in semtok's format.

    Args:
        name: hub id or folder.
        folder: to save to.
        layers: of the tokenizer alone; the vocoder keeps all.
        revision: as the other arguments, of `Tokenizer.from_pretrained`.

    Returns:
        What was saved.

    Raises:
        CheckpointError: as of `Tokenizer.from_pretrained`; or the repository is semtok's own, or the folder holds
            another checkpoint. Nothing is written then.
        LayerError: the repository lacks a layer, or one is asked for twice.
    """
    layout = speechbrain_layout(resolve(name, revision=revision), encoder, dataset, num_clusters)
    if layout is None:
        raise CheckpointError(f"{os.fspath(name)} is in semtok's own format: load it as it is")
    tokenizer = vocoder = None
    if layout.codebooks:
        tokenizer = Tokenizer.from_pretrained(
            name, layers=layers, revision=revision, encoder=encoder, dataset=dataset, num_clusters=num_clusters
        )
    if layout.has_vocoder:
        vocoder = Vocoder.from_pretrained(name, revision=revision)
    for part in (tokenizer, vocoder):
        if part is not None:
            _check_target(Path(folder), part.fingerprint)
    for part in (tokenizer, vocoder):
        if part is not None:
            part.save_pretrained(folder)
    return tokenizer, vocoder


def import_kmeans(
    files: Mapping[int, str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    encoder: str,
    encoder_revision: str | None = None,
) -> Tokenizer:
    """Saves a tokenizer of k-means files and the encoder that they were made with, in semtok's format.

    Args:
        files: by encoder layer, each in one of the formats of `semtok.checkpoints.untrusted.read_centroids`.
        folder: to save to.
        encoder: hub id, which is saved by reference with its commit, or a folder, whose weights are saved beside.
        encoder_revision: branch, tag or commit of the hub id.

    Raises:
        CheckpointError: files are missing, damaged, hostile or of another format; the centroids are not as wide as the
            encoder's features; it is of an unsupported family; or the folder holds another checkpoint. Nothing is
            written then.
        LayerError: a layer that the encoder has not.
    """
    source = resolve(encoder, revision=encoder_revision)
    described = read_json(source.file(CONFIG))
    dim, depth = described.get("hidden_size"), described.get("num_hidden_layers")
    if not isinstance(dim, int) or not isinstance(depth, int):
        raise CheckpointError(
            f"{encoder} is no encoder of transformers: its {CONFIG} has no hidden_size and num_hidden_layers"
        )
    check_layers(files, range(depth + 1), owner=f"the encoder {encoder}")
    centroids = {layer: read_centroids(path) for layer, path in files.items()}
    for layer, points in centroids.items():
        if points.shape[1] != dim:
            raise CheckpointError(
                f"{os.fspath(files[layer])} has centroids of {points.shape[1]} dimensions, the features of {encoder} "
                f"have {dim}: give the encoder that they were made with"
            )
    normalize = _normalizes(source, described)
    by_reference = {} if source.folder else {"encoder": encoder, "encoder_revision": commit_of(source.file(CONFIG))}
    model = read_encoder(source, max(files))
    tokenizer = Tokenizer.from_centroids(model, centroids, normalize=normalize, **by_reference)
    _check_target(Path(folder), tokenizer.fingerprint)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _normalizes(encoder: Repository, described: Mapping[str, Any]) -> bool:
    """Whether an encoder takes input of zero mean and unit variance."""
    if described.get("model_type") == "wav2vec2-bert":
        return True  # its mel bands always are
    path = encoder.find(_PREPROCESSOR)
    if path is None:
        raise CheckpointError(
            f"{encoder.name} has no {_PREPROCESSOR}, which says by do_normalize whether its input is normalised: "
            "put the one that it was published with beside its config.json"
        )
    return bool(read_json(path).get("do_normalize", True))


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
