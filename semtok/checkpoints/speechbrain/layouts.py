"""Which layout of SpeechBrain's a repository is in, told by its name or by the names of its files."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.speechbrain.published import ENCODERS, PUBLISHED, Layout, codebooks_origin
from semtok.errors import CheckpointError

GENERATOR = "generator.ckpt"
HYPERPARAMETERS = "hyperparams.yaml"

EXPECTED = (
    f"a SpeechBrain vocoder has {GENERATOR} and {HYPERPARAMETERS}, its codebooks lie beside them in "
    "kmeans/DATASET_ENCODER_kSIZE_LLAYER.pt or, of a single layer, in kmeans.ckpt; codebooks alone lie in "
    "DATASET/ENCODER/DATASET_ENCODER_kSIZE_LLAYER.pt"
)
"""For the error of who finds nothing of it."""

_FAMILY = r"(?P<family>hubert|wav2vec2?|wavlm)"
_CODEBOOK = re.compile(rf"(?:.*/)?(?P<dataset>[^/]+)_{_FAMILY}_k(?P<size>\d+)_L(?P<layer>\d+)\.pt")
_UNNAMED_CODEBOOK = re.compile(rf"[^/]+/{_FAMILY}/kmeans-cluster-(?P<size>\d+)-layer-(?P<layer>\d+)\.pt")
_LAYERS_IN_NAME = re.compile(rf"{_FAMILY}.*-l(?P<layers>\d+(?:-\d+)*)-k(?P<size>\d+)(?:-|$)", re.IGNORECASE)

Codebooks = dict[tuple[str, str, int], dict[int, str]]
"""k-means files by (data set, encoder family, size), then by layer."""


def is_published(repository: Repository) -> bool:
    """Whether it is one of SpeechBrain's by its hub id, so that no file has to be looked at."""
    return repository.folder is None and repository.name in PUBLISHED


def has_files(repository: Repository) -> bool:
    """Whether a repository has the files of a vocoder or of codebooks, by their names."""
    return _has_vocoder(repository.files) or bool(_find_codebooks(repository.files))


def find_layout(
    repository: Repository,
    *,
    encoder: str | None = None,
    dataset: str | None = None,
    num_clusters: int | None = None,
) -> Layout:
    """What a repository in SpeechBrain's layout holds. No large file is fetched.

    Args:
        repository: a hub id, or a folder with the same files.
        encoder: hub id or folder of the encoder, where the repository has codebooks for several.
        dataset: what the k-means were fitted on, by the name of its folder or files, where there are several.
        num_clusters: size of the codebooks, where there are several.

    Raises:
        CheckpointError: several tokenizers are in there and the arguments do not say which; or it is a vocoder whose
            layers neither codebooks nor its name tell.
    """
    if is_published(repository) and dataset is None and num_clusters is None:
        return PUBLISHED[repository.name].layout
    files = repository.files
    has_vocoder = _has_vocoder(files)
    codebooks = _find_codebooks(files)
    if not codebooks:
        return _layout_by_name(repository, files)
    if len(families := {family for _, family, _ in codebooks}) > 1 and encoder is not None:
        families = {str(repository.at(encoder).read_json(CONFIG).get("model_type"))}
    chosen = {
        (name, family, size): tables
        for (name, family, size), tables in codebooks.items()
        if family in families and dataset in (None, name) and num_clusters in (None, size)
    }
    if len(chosen) != 1:
        raise CheckpointError(
            f"{repository.name} has codebooks for {len(codebooks)} tokenizers, {len(chosen)} of which are asked for. "
            f"Import one of them: semtok import speechbrain {repository.name} -o FOLDER, with --encoder, --dataset and "
            f"--num-clusters of {_list(codebooks)}"
        )
    (name, family, size), tables = chosen.popitem()
    layers = tuple(sorted(tables))
    origin = codebooks_origin(repository.name, name, family, size)
    if repository.folder is not None:
        origin = _content([repository.folder / tables[layer] for layer in layers])
    return Layout(layers, size, origin, ENCODERS[family], tables, has_vocoder)


def _has_vocoder(files: Sequence[str]) -> bool:
    return GENERATOR in files and HYPERPARAMETERS in files


def _find_codebooks(files: Sequence[str]) -> Codebooks:
    tables: Codebooks = defaultdict(dict)
    # A file that was given its proper name comes before one that was not.
    for pattern in (_CODEBOOK, _UNNAMED_CODEBOOK):
        for file in files:
            if match := pattern.fullmatch(file):
                folders = file.split("/")[:-1]
                # Where the data set has a folder, that is its name for SpeechBrain; else the file's name says it.
                dataset = folders[0] if len(folders) == 2 else match["dataset"]
                tables[dataset, _family(match), int(match["size"])].setdefault(int(match["layer"]), file)
    return dict(tables)


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


def _content(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()}"


def _list(codebooks: Codebooks) -> str:
    return "; ".join(
        f"{family} (--dataset {dataset} --num-clusters {size}, layers {', '.join(map(str, sorted(files)))})"
        for (dataset, family, size), files in sorted(codebooks.items())
    )
