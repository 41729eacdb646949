"""What a repository gives a tokenizer or a vocoder, whichever layout it is in: semtok's own or SpeechBrain's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from semtok.checkpoints import files as checkpoint
from semtok.checkpoints.config import TokenizerConfig
from semtok.checkpoints.files import CENTROIDS, CONFIG, ENCODER, VOCODER
from semtok.checkpoints.listing import repository_files
from semtok.checkpoints.speechbrain.layouts import EXPECTED, encoder_repository, recognise
from semtok.checkpoints.speechbrain.published import PUBLISHED, Layout
from semtok.checkpoints.speechbrain.reader import VocoderParts, read_tokenizer, read_vocoder
from semtok.codebooks.fingerprint import fingerprint_of, weights_identity
from semtok.codebooks.layers import check_layers
from semtok.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel

    from semtok.checkpoints.hub import Repository
    from semtok.encoder.encoder import Encoder


def tokenizer_parts(
    repository: Repository,
    layers: Sequence[int] | None,
    *,
    encoder: str | None = None,
    dataset: str | None = None,
    num_clusters: int | None = None,
) -> tuple[TokenizerConfig, PreTrainedModel, dict[int, list[Tensor]]]:
    """Config, encoder up to the deepest layer asked for, and the centroids of these layers' stages in the order asked.

    Arguments and errors as of `Tokenizer.from_pretrained`; only the files that are needed are fetched.
    """
    layout = speechbrain_layout(repository, encoder, dataset, num_clusters)
    if layout is not None:
        parts = read_tokenizer(repository, layout, layers=layers, encoder=encoder)
        return parts.config, checkpoint.read_encoder(parts.encoder, max(parts.centroids)), parts.centroids
    if dataset is not None or num_clusters is not None:
        raise CheckpointError(f"{repository.name} holds one tokenizer: leave out dataset= and num_clusters=")
    config = checkpoint.read_checkpoint_config(repository).tokenizer
    if config is None:
        raise CheckpointError(f"{repository.name} holds a vocoder alone, no tokenizer")
    chosen = config.layers if layers is None else check_layers(layers, config.layers, owner=repository.name)
    centroids = checkpoint.read_centroids(repository, config, chosen)
    if encoder is None:
        return config, checkpoint.read_tokenizer_encoder(repository, config, max(chosen)), centroids
    return config, checkpoint.read_encoder(encoder_repository(repository, encoder), max(chosen)), centroids


def vocoder_parts(repository: Repository) -> VocoderParts:
    """Config and weights of a vocoder; errors as of `Vocoder.from_pretrained`."""
    layout = speechbrain_layout(repository)
    if layout is not None:
        return read_vocoder(repository, layout)
    config = checkpoint.read_checkpoint_config(repository).vocoder
    if config is None:
        raise CheckpointError(f"{repository.name} holds a tokenizer alone, no vocoder")
    return VocoderParts(config, checkpoint.read_tensors(repository.file(VOCODER), config.fingerprint))


def new_tokenizer_config(
    encoder: Encoder, centroids: Mapping[int, Sequence[Tensor]], name: str, revision: str | None
) -> TokenizerConfig:
    """The config of a new tokenizer: centroids by layer, ascending; the encoder's hub id and commit, or `ENCODER`."""
    identity = weights_identity(encoder.model) if name == ENCODER else f"{name}@{revision}"
    return TokenizerConfig(
        encoder=name,
        encoder_revision=revision,
        normalize=encoder.normalize,
        layers=tuple(centroids),
        codebook_sizes=tuple(len(points) for stages in centroids.values() for points in stages),
        stages=tuple(len(stages) for stages in centroids.values()),
        dim=encoder.dim,
        sample_rate=encoder.sample_rate,
        hop_length=encoder.hop_length,
        fingerprint=fingerprint_of(identity, centroids),
        normalize_epsilon=encoder.normalize_epsilon,
    )


def speechbrain_layout(
    repository: Repository, encoder: str | None = None, dataset: str | None = None, num_clusters: int | None = None
) -> Layout | None:
    """SpeechBrain's layout if the repository is in it, None if it is in semtok's; an error if it is in neither."""
    config = None if repository.folder is None and repository.name in PUBLISHED else repository.find(CONFIG)
    if config is not None and _has_version(config):
        return None
    layout = recognise(repository, encoder=encoder, dataset=dataset, num_clusters=num_clusters)
    if layout is None and config is None:
        files = repository_files(repository)
        found = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
        raise CheckpointError(
            f"{repository.name} has no file {CONFIG}: it is no checkpoint, or an incomplete one. It holds "
            f"{found or 'no files'}. Expected: semtok's own have {CONFIG}, {CENTROIDS} and {VOCODER}; {EXPECTED}"
        )
    return layout


def _has_version(config: Path) -> bool:
    try:
        return "format_version" in json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, TypeError):
        return False  # what is wrong with it, its reader says
