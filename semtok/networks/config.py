"""Sizes of a vocoder's network, which are also the vocoder's section of `config.json`."""

from __future__ import annotations

from dataclasses import dataclass

from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer
from semtok.errors import ConfigError, check_sizes
from semtok.networks.generators import GeneratorConfig


@dataclass(frozen=True)
class SpeakerConfig:
    """How a vocoder gets the voice of a speaker.

    Args:
        dim: of a speaker's embedding.
        channels: width of the vocoder's own speaker encoder, which makes embeddings of recordings; without it the
            caller has to bring embeddings.
    """

    dim: int
    channels: int | None = None

    def __post_init__(self) -> None:
        check_sizes(self, "dim", "channels")


@dataclass(frozen=True)
class VocoderConfig:
    """A vocoder's network: codes -> layer selector -> generator -> waveform.

    Args:
        codebooks: of the tokenizer. Every row of codes gets an embedding table of its own, so that any subset of the
            layers can be decoded.
        embedding_dim: of the tables, and of the one vector a frame that the generator sees whatever the layers are.
        attention_dim: hidden size of the score by which the layers of a frame are weighted.
        sample_rate: of the waveforms, Hz; the speaker encoder takes waveforms of this rate.
        hop_length: samples of one frame. The tokenizer has as many frames a second, so that speech keeps its duration.
        fingerprint: of the tokenizer. The codes of another one would be decoded to noise, and so are refused.
        generator: which generator, and its sizes.
        absent_embedding: a learned embedding stands for each absent layer, as in SpeechBrain's vocoders; by default
            the attention leaves absent layers out.
        speaker: how the vocoder gets the voice of a speaker; by default the voice is what the tokens tell of it.
    """

    codebooks: Codebooks
    embedding_dim: int
    attention_dim: int
    sample_rate: int
    hop_length: int
    fingerprint: str
    generator: GeneratorConfig
    absent_embedding: bool = False
    speaker: SpeakerConfig | None = None

    def __post_init__(self) -> None:
        check_sizes(self, "embedding_dim", "attention_dim", "sample_rate", "hop_length")
        if self.generator.hop_length != self.hop_length:
            raise ConfigError(
                f"the generator makes {self.generator.hop_length} samples a frame, expected {self.hop_length}"
            )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order of `codebooks`."""
        return self.codebooks.layers
