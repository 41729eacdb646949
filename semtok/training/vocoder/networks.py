"""The network that a vocoder's training starts from."""

from __future__ import annotations

import dataclasses
import logging

import torch

from semtok.codebooks.codebooks import Codebooks
from semtok.errors import CheckpointError, ConfigError
from semtok.networks.config import SpeakerConfig, VocoderConfig
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.tokenizer import Tokenizer
from semtok.training.vocoder.config import VocoderTrainingConfig
from semtok.vocoder import Vocoder

logger = logging.getLogger(__name__)


def start_network(config: VocoderTrainingConfig, tokenizer: Tokenizer) -> tuple[ScalableVocoder, VocoderConfig]:
    """A new network, drawn from the config's seed, or that of the published vocoder to start from.

    Raises:
        ConfigError, CheckpointError: the published vocoder is of another shape.
    """
    if config.start_from is not None:
        return _published_network(config, config.start_from, tokenizer)
    assert config.embedding_dim and config.attention_dim and config.generator
    description = VocoderConfig(
        codebooks=tokenizer.codebooks,
        embedding_dim=config.embedding_dim,
        attention_dim=config.attention_dim,
        sample_rate=tokenizer.sample_rate,
        hop_length=tokenizer.hop_length,
        fingerprint=tokenizer.fingerprint,
        generator=config.generator,
        speaker=_speaker(config),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ScalableVocoder(description)
        if config.embeddings_from_centroids:
            network.selector.start_from(
                [
                    tokenizer.centroids(layer, stage + 1).cpu()
                    for layer, sizes in tokenizer.codebooks.items()
                    for stage in range(len(sizes))
                ]
            )
    return network, description


def _published_network(
    config: VocoderTrainingConfig, name: str, tokenizer: Tokenizer
) -> tuple[ScalableVocoder, VocoderConfig]:
    published = Vocoder.from_pretrained(name)
    shape, wanted_shape = (
        (kind.codebooks, kind.sample_rate, kind.hop_length) for kind in (published.config, tokenizer)
    )
    if shape != wanted_shape:
        raise CheckpointError(
            f"the vocoder {name} decodes {_shown(*shape)}; {config.tokenizer} has {_shown(*wanted_shape)}: train a "
            "new one"
        )
    if published.fingerprint != tokenizer.fingerprint:
        logger.warning(
            "the vocoder %s is of ANOTHER TOKENIZER, %s. It is trained on for %s, %s, and its embeddings are taken "
            "over, code by code: right where these codebooks were fitted starting from those, so that a code still "
            "says about the same; otherwise train a new one",
            name, published.fingerprint, config.tokenizer, tokenizer.fingerprint,
        )  # fmt: skip
    for field in ("embedding_dim", "attention_dim", "generator"):
        wanted, is_ = getattr(config, field), getattr(published.config, field)
        if wanted not in (None, is_):
            raise ConfigError(f"{field} of the vocoder {name} is {is_}, the config asks for {wanted}: leave it out")
    speaker = _speaker(config)
    if published.config.speaker not in (None, speaker):
        raise ConfigError(
            f"speaker of the vocoder {name} is {published.config.speaker}, the config asks for {speaker}: give the same"
        )
    description = dataclasses.replace(published.config, speaker=speaker, fingerprint=tokenizer.fingerprint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ScalableVocoder(description)
    network.load_state_dict(network.state_dict() | published.network.state_dict())
    return network.train(), description


def _shown(codebooks: Codebooks, sample_rate: int, hop_length: int) -> str:
    return f"codebooks {dict(codebooks)}, {sample_rate} Hz, {hop_length} samples a frame"


def _speaker(config: VocoderTrainingConfig) -> SpeakerConfig | None:
    return config.speaker.network if config.speaker else None
