"""SpeechBrain's multi-layer tokenizers and vocoders (`DiscreteSSL`, `UnitHIFIGAN`) as plain configs and tensors.

`semtok.checkpoints.speechbrain.layouts.find_layout` says what a repository holds; this fetches what is needed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from semtok.checkpoints.config import CONFIG, ENCODER, TokenizerConfig
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.parts import TokenizerParts, VocoderParts
from semtok.checkpoints.speechbrain.layouts import (
    EXPECTED,
    GENERATOR,
    HYPERPARAMETERS,
    find_layout,
    has_files,
    is_published,
)
from semtok.checkpoints.speechbrain.published import Layout
from semtok.checkpoints.speechbrain.unit_hifigan import convert_weights, generator_config, read_settings
from semtok.checkpoints.untrusted.centroids import read_centroids
from semtok.checkpoints.untrusted.hyperparams import read_yaml
from semtok.checkpoints.untrusted.state_dict import read_state_dict
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer, check_layers
from semtok.errors import CheckpointError
from semtok.networks.config import VocoderConfig
from semtok.networks.generators import GeneratorConfig

_SAMPLE_RATE = 16000  # of every encoder and vocoder in this layout


@dataclass(frozen=True)
class SpeechBrain:
    """Reads what has SpeechBrain's files; the arguments say which tokenizer, where there are several.

    Args:
        dataset: what the k-means were fitted on, by the name of its folder or files.
        num_clusters: size of the codebooks.
    """

    dataset: str | None = None
    num_clusters: int | None = None
    expected: ClassVar[str] = EXPECTED

    def recognises(self, repository: Repository) -> bool:
        return has_files(repository)

    def tokenizer_parts(
        self, repository: Repository, *, layers: Sequence[Layer] | None, encoder: str | None
    ) -> TokenizerParts:
        layout = self.layout(repository, encoder=encoder)
        return read_tokenizer(repository, layout, layers=layers, encoder=encoder)

    def vocoder_parts(self, repository: Repository) -> VocoderParts:
        return read_vocoder(repository, self.layout(repository))

    def layout(self, repository: Repository, *, encoder: str | None = None) -> Layout:
        """What the repository holds; errors as in `semtok.checkpoints.speechbrain.layouts.find_layout`."""
        return find_layout(repository, encoder=encoder, dataset=self.dataset, num_clusters=self.num_clusters)


class PublishedSpeechBrain(SpeechBrain):
    """Reads the repositories whose content is known by their hub ids."""

    def recognises(self, repository: Repository) -> bool:
        return is_published(repository)


def read_tokenizer(
    repository: Repository, layout: Layout, *, layers: Sequence[Layer] | None = None, encoder: str | None = None
) -> TokenizerParts:
    """Fetches the codebooks of the layers asked for, and the encoder's configs but not its weights.

    Args:
        repository: that was recognised.
        layout: as what it was.
        layers: all by default.
        encoder: hub id or folder of the encoder, instead of the one that the codebooks are known to be made with. That
            it is the same model is for the caller to know: the fingerprint does not cover it.

    Raises:
        CheckpointError: it is a vocoder alone; the encoder has to be named; files are missing, corrupt or unsafe; or
            the centroids do not fit the encoder.
        LayerError: a layer that it has no codebook of, or twice the same.
    """
    if not layout.codebooks:
        raise CheckpointError(
            f"{repository.name} holds a vocoder alone, without codebooks. It decodes tokens of {layout.origin}: "
            "load the tokenizer from there"
        )
    chosen = layout.layers if layers is None else check_layers(layers, layout.layers, owner=repository.name)
    if encoder is None:
        if len(layout.encoders) != 1:
            candidates = " or ".join(f"encoder={name!r}" for name in layout.encoders) or "encoder="
            raise CheckpointError(
                f"{repository.name} does not say which encoder its codebooks were made with: pass {candidates}"
            )
        encoder = layout.encoders[0]
    source = repository.at(encoder)
    model = source.read_json(CONFIG)
    preprocessor = source.read_json("preprocessor_config.json")
    dim, strides = model.get("hidden_size"), model.get("conv_stride")
    if not isinstance(dim, int) or not isinstance(strides, list):
        raise CheckpointError(f"{encoder} is no encoder of speech: its config.json has no hidden_size and conv_stride")
    centroids = {layer: read_centroids(repository.file(layout.codebooks[layer])) for layer in chosen}
    for layer, points in centroids.items():
        if points.shape != (layout.codebook_size, dim):
            raise CheckpointError(
                f"{repository.name}: the centroids in {layout.codebooks[layer]} have shape {list(points.shape)}, "
                f"expected {[layout.codebook_size, dim]} for the encoder {encoder}: pass another by encoder="
            )
    config = TokenizerConfig(
        encoder=ENCODER if source.folder else encoder,
        encoder_revision=source.commit,
        normalize=bool(preprocessor.get("do_normalize", True)),
        normalize_epsilon=1e-5,  # theirs; transformers' feature extractors add 1e-7 to the variance
        codebooks=Codebooks({layer: [layout.codebook_size] for layer in layout.layers}),
        dim=dim,
        sample_rate=_SAMPLE_RATE,
        hop_length=math.prod(strides),
        fingerprint=_fingerprint(layout),
    )
    return TokenizerParts(config, source, {layer: [points] for layer, points in centroids.items()})


def read_vocoder(repository: Repository, layout: Layout) -> VocoderParts:
    """Fetches the vocoder.

    Raises:
        CheckpointError: it holds a tokenizer alone; its generator is of a kind that is not supported, e.g. conditioned
            on speakers; files are missing, corrupt or unsafe.
        ConfigError: hyperparams.yaml has ill-typed entries.
    """
    if not layout.has_vocoder:
        raise CheckpointError(f"{repository.name} holds codebooks alone, no vocoder")
    where = f"{repository.name}/{HYPERPARAMETERS}"
    settings = read_settings(read_yaml(repository.file(HYPERPARAMETERS)), where)
    generator = generator_config(settings, where)
    if len(layout.layers) > 1 and settings.get("pooling_type", "attention") != "attention":
        raise CheckpointError(f"{where}: pooling_type is {settings['pooling_type']!r}, only 'attention' is supported")
    weights = convert_weights(
        read_state_dict(repository.file(GENERATOR)),
        len(layout.layers),
        layout.codebook_size,
        len(generator.resblock_kernel_sizes),
        f"{repository.name}/{GENERATOR}",
    )
    attention_dim, embedding_dim = weights["selector.score.0.weight"].shape
    config = VocoderConfig(
        codebooks=Codebooks({layer: [layout.codebook_size] for layer in layout.layers}),
        embedding_dim=embedding_dim,
        attention_dim=attention_dim,
        absent_embedding=len(layout.layers) > 1,
        sample_rate=_SAMPLE_RATE,
        hop_length=math.prod(generator.upsample_factors),
        fingerprint=_fingerprint(layout),
        generator=GeneratorConfig(hifigan=generator),
    )
    return VocoderParts(config, weights)


def _fingerprint(layout: Layout) -> str:
    return hashlib.sha256(layout.origin.encode()).hexdigest()[:16]
