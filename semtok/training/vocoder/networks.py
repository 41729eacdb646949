"""The network that a vocoder's training starts from."""

from __future__ import annotations

import dataclasses

import torch

from semtok.errors import CheckpointError, ConfigError
from semtok.networks.config import SpeakerConfig, VocoderConfig
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.tokenizer import Tokenizer
from semtok.training.vocoder.config import VocoderTrainingConfig
from semtok.vocoder import Vocoder


def start_network(config: VocoderTrainingConfig, tokenizer: Tokenizer) -> tuple[ScalableVocoder, VocoderConfig]:
    """A new network, drawn from the config's seed, or that of the published vocoder to start from."""
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
    if (published.fingerprint, published.layers) != (tokenizer.fingerprint, tokenizer.layers):
        raise CheckpointError(
            f"the vocoder {name} is of tokenizer {published.fingerprint}, layers {published.layers}; "
            f"{config.tokenizer} is {tokenizer.fingerprint}, layers {tokenizer.layers}: train a new one"
        )
    for field in ("embedding_dim", "attention_dim", "generator"):
        wanted, is_ = getattr(config, field), getattr(published.config, field)
        if wanted not in (None, is_):
            raise ConfigError(f"{field} of the vocoder {name} is {is_}, the config asks for {wanted}: leave it out")
    speaker = _speaker(config)
    if published.config.speaker not in (None, speaker):
        raise ConfigError(
            f"speaker of the vocoder {name} is {published.config.speaker}, the config asks for {speaker}: give the same"
        )
    description = dataclasses.replace(published.config, speaker=speaker)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ScalableVocoder(description)
    network.load_state_dict(network.state_dict() | published.network.state_dict())
    return network.train(), description


def _speaker(config: VocoderTrainingConfig) -> SpeakerConfig | None:
    return config.speaker.network if config.speaker else None
