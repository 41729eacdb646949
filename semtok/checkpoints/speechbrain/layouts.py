"""Which layout of SpeechBrain's a repository is in, told by its name or by the names of its files."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semtok.checkpoints.hub import Repository, resolve
from semtok.checkpoints.listing import repository_files
from semtok.checkpoints.speechbrain.published import ENCODERS, PUBLISHED, Layout, codebooks_origin
from semtok.errors import CheckpointError

GENERATOR = "generator.ckpt"
HYPERPARAMETERS = "hyperparams.yaml"

EXPECTED = (
    f"a SpeechBrain vocoder has {GENERATOR} and {HYPERPARAMETERS}, its codebooks lie beside them in "
    "kmeans/DATASET_ENCODER_kSIZE_LLAYER.pt or, of a single layer, in kmeans.ckpt; codebooks alone lie in "
    "DATASET/ENCODER/DATASET_ENCODER_kSIZE_LLAYER.pt"
)
"""What `recognise` looks for, for the error of who finds nothing."""

_FAMILY = r"(?P<family>hubert|wav2vec2?|wavlm)"
_CODEBOOK = re.compile(rf"(?:.*/)?(?P<dataset>[^/]+)_{_FAMILY}_k(?P<size>\d+)_L(?P<layer>\d+)\.pt")
_UNNAMED_CODEBOOK = re.compile(rf"[^/]+/{_FAMILY}/kmeans-cluster-(?P<size>\d+)-layer-(?P<layer>\d+)\.pt")
_LAYERS_IN_NAME = re.compile(rf"{_FAMILY}.*-l(?P<layers>\d+(?:-\d+)*)-k(?P<size>\d+)(?:-|$)", re.IGNORECASE)

Codebooks = dict[tuple[str, str, int], dict[int, str]]
"""k-means files by (data set, encoder family, size), then by layer."""


def recognise(
    repository: Repository,
    *,
    encoder: str | None = None,
    dataset: str | None = None,
    num_clusters: int | None = None,
) -> Layout | None:
    """What a repository in SpeechBrain's layout holds; None if it is in no such layout. No large file is fetched.

    Args:
        repository: a hub id, or a folder with the same files.
        encoder: hub id or folder of the encoder, where the repository has codebooks for several.
        dataset: what the k-means were fitted on, by the name of its folder or files, where there are several.
        num_clusters: size of the codebooks, where there are several.

    Raises:
        CheckpointError: several tokenizers are in there and the arguments do not say which; or it is a vocoder whose
            layers neither codebooks nor its name tell.
    """
    if repository.folder is None and repository.name in PUBLISHED and dataset is None and num_clusters is None:
        return PUBLISHED[repository.name].layout
    files = repository_files(repository)
    has_vocoder = GENERATOR in files and HYPERPARAMETERS in files
    codebooks = _find_codebooks(files)
    if not codebooks:
        return _layout_by_name(repository, files) if has_vocoder else None
    if len(families := {family for _, family, _ in codebooks}) > 1 and encoder is not None:
        families = {_model_type(encoder_repository(repository, encoder))}
    chosen = {
        (name, family, size): found
        for (name, family, size), found in codebooks.items()
        if family in families and dataset in (None, name) and num_clusters in (None, size)
    }
    if len(chosen) != 1:
        raise CheckpointError(
            f"{repository.name} has codebooks for {len(codebooks)} tokenizers, {len(chosen)} of which are asked for. "
            f"Choose by encoder=, dataset= and num_clusters= from: {_list(codebooks)}"
        )
    (name, family, size), found = chosen.popitem()
    layers = tuple(sorted(found))
    origin = codebooks_origin(repository.name, name, family, size)
    if repository.folder is not None:
        origin = _content([repository.folder / found[layer] for layer in layers])
    return Layout(layers, size, origin, ENCODERS[family], found, has_vocoder)


def encoder_repository(repository: Repository, encoder: str) -> Repository:
    """Where an encoder is, a hub id or a folder, with the access that `repository` was given."""
    return resolve(
        encoder,
        cache_dir=repository.cache_dir,
        token=repository.token,
        local_files_only=repository.local_files_only,
    )


def commit_of(path: Path) -> str:
    """Of a file in the hub's cache, which keeps each commit's files in a folder of its own: snapshots/COMMIT/."""
    return path.parent.name


def read_json(path: Path) -> dict[str, Any]:
    """The entries of a JSON file; `CheckpointError` if it is none."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, dict):
        raise CheckpointError(f"{path} holds no keys and values")
    return entries


def _find_codebooks(files: Sequence[str]) -> Codebooks:
    found: Codebooks = defaultdict(dict)
    # A file that was given its proper name comes before one that was not.
    for pattern in (_CODEBOOK, _UNNAMED_CODEBOOK):
        for file in files:
            if match := pattern.fullmatch(file):
                folders = file.split("/")[:-1]
                # Where the data set has a folder, that is its name for SpeechBrain; else the file's name says it.
                dataset = folders[0] if len(folders) == 2 else match["dataset"]
                found[dataset, _family(match), int(match["size"])].setdefault(int(match["layer"]), file)
    return dict(found)


def _layout_by_name(repository: Repository, files: Sequence[str]) -> Layout:
    """Of a vocoder without codebooks beside it but `kmeans.ckpt`: its name alone tells which layers it decodes."""
    name = repository.name if repository.folder is None else repository.folder.resolve().name
    match = _LAYERS_IN_NAME.search(name)
    if match is None:
        raise CheckpointError(
            f"{repository.name} has {GENERATOR} and no codebooks, and its name does not tell the layers that it "
            "decodes: name its folder as the published ones are, e.g. 'hifigan-wavlm-l1-3-7-12-18-23-k1000-LibriTTS'"
        )
    layers = tuple(sorted(map(int, match["layers"].split("-"))))
    single = len(layers) == 1 and "kmeans.ckpt" in files
    origin = repository.name
    if repository.folder is not None:
        origin = _content([repository.folder / ("kmeans.ckpt" if single else GENERATOR)])
    return Layout(layers, int(match["size"]), origin, (), {layers[0]: "kmeans.ckpt"} if single else {})


def _family(match: re.Match[str]) -> str:
    return "wav2vec2" if match["family"] == "wav2vec" else match["family"]


def _model_type(encoder: Repository) -> str:
    return str(read_json(encoder.file("config.json")).get("model_type"))


def _content(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()}"


def _list(codebooks: Codebooks) -> str:
    return "; ".join(
        f"{family} (dataset={dataset!r}, num_clusters={size}, layers {', '.join(map(str, sorted(files)))})"
        for (dataset, family, size), files in sorted(codebooks.items())
    )
