"""The network that a vocoder's training starts from."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from semtok.codebooks.codebooks import Codebooks
from semtok.errors import CheckpointError, ConfigError
from semtok.networks.config import SpeakerConfig, VocoderConfig
from semtok.networks.convnext import FrameConv1d
from semtok.networks.generators import Generator, GeneratorConfig
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.tokenizer import Tokenizer
from semtok.training.vocoder.config import VocoderTrainingConfig
from semtok.vocoder import Vocoder

logger = logging.getLogger(__name__)


def speech_rate(config: VocoderTrainingConfig, tokenizer: Tokenizer) -> tuple[int, int]:
    """Sample rate (Hz) and hop length of the speech that the vocoder of a tokenizer makes.

    Raises:
        ConfigError: a frame would not be a whole number of samples; discriminators on the tokenizer's own encoder,
            which hears another rate.
    """
    rate = config.sample_rate or tokenizer.sample_rate
    hop_length, left = divmod(rate * tokenizer.hop_length, tokenizer.sample_rate)
    if left or hop_length == 0:
        least = tokenizer.sample_rate // math.gcd(tokenizer.sample_rate, tokenizer.hop_length)
        raise ConfigError(
            f"sample_rate {rate}: {tokenizer.frame_rate:g} frames a second would not be whole samples; multiples of "
            f"{least} Hz fit, such as {max(1, round(rate / least)) * least}"
        )
    if config.feature_layers and rate != tokenizer.sample_rate:
        raise ConfigError(
            f"feature_layers judge by an encoder that hears {tokenizer.sample_rate} Hz, not speech at {rate} Hz: leave "
            "them out, and take windows or periods"
        )
    return rate, hop_length


def start_network(config: VocoderTrainingConfig, tokenizer: Tokenizer) -> tuple[ScalableVocoder, VocoderConfig]:
    """A new network, drawn from the config's seed, or that of the published vocoder to start from.

    Raises:
        ConfigError, CheckpointError: the published vocoder is of another shape, or `speech_rate` does not fit.
    """
    sample_rate, hop_length = speech_rate(config, tokenizer)
    if config.start_from is not None:
        return _published_network(config, config.start_from, tokenizer, (sample_rate, hop_length))
    assert config.embedding_dim and config.attention_dim and config.generator
    description = VocoderConfig(
        codebooks=tokenizer.codebooks,
        embedding_dim=config.embedding_dim,
        attention_dim=config.attention_dim,
        sample_rate=sample_rate,
        hop_length=hop_length,
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
    config: VocoderTrainingConfig, name: str, tokenizer: Tokenizer, rate: tuple[int, int]
) -> tuple[ScalableVocoder, VocoderConfig]:
    published = Vocoder.from_pretrained(name)
    shape = published.codebooks, published.sample_rate, published.hop_length
    if shape != (wanted_shape := (tokenizer.codebooks, *rate)):
        raise CheckpointError(
            f"the vocoder {name} decodes {_shown(*shape)}; {config.tokenizer} and sample_rate ask for "
            f"{_shown(*wanted_shape)}: train a new one"
        )
    if published.fingerprint != tokenizer.fingerprint:
        logger.warning(
            "the vocoder %s is of ANOTHER TOKENIZER, %s. It is trained on for %s, %s, and its embeddings are taken "
            "over, code by code: right where these codebooks were fitted starting from those, so that a code still "
            "says about the same; otherwise train a new one",
            name, published.fingerprint, config.tokenizer, tokenizer.fingerprint,
        )  # fmt: skip
    generator = config.generator or published.config.generator
    for field, wanted, is_ in (
        ("embedding_dim", config.embedding_dim, published.config.embedding_dim),
        ("attention_dim", config.attention_dim, published.config.attention_dim),
        ("generator", _without_look_ahead(generator), _without_look_ahead(published.config.generator)),
    ):
        if wanted not in (None, is_):
            raise ConfigError(f"{field} of the vocoder {name} is {is_}, the config asks for {wanted}: leave it out")
    speaker = _speaker(config)
    if published.config.speaker not in (None, speaker):
        raise ConfigError(
            f"speaker of the vocoder {name} is {published.config.speaker}, the config asks for {speaker}: give the same"
        )
    description = dataclasses.replace(
        published.config, speaker=speaker, fingerprint=tokenizer.fingerprint, generator=generator
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ScalableVocoder(description)
    weights = network.state_dict() | published.network.state_dict()
    _align_kernels(weights, published.network.generator, network.generator)
    network.load_state_dict(weights)
    return network.train(), description


def _without_look_ahead(generator: GeneratorConfig) -> GeneratorConfig:
    if generator.istft is None:
        return generator
    return GeneratorConfig(istft=dataclasses.replace(generator.istft, look_ahead=None))


def _align_kernels(weights: dict[str, Tensor], before: Generator, after: Generator) -> None:
    """Moves kernels of generators so that each weight still acts on its frame where `after` sees fewer frames ahead.

    Weights of frames that are not seen any more are dropped, and those of frames further back start at 0.
    """
    for name, convolution in after.named_modules():
        if isinstance(convolution, FrameConv1d):
            fewer = cast(FrameConv1d, before.get_submodule(name)).ahead - convolution.ahead
            kernel = f"generator.{name}.weight"
            weights[kernel] = F.pad(weights[kernel], (fewer, -fewer))


def _shown(codebooks: Codebooks, sample_rate: int, hop_length: int) -> str:
    return f"codebooks {dict(codebooks)}, {sample_rate} Hz, {hop_length} samples a frame"


def _speaker(config: VocoderTrainingConfig) -> SpeakerConfig | None:
    return config.speaker.network if config.speaker else None
