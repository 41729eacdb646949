"""Sizes of a vocoder, as `config.json` gives them."""

from __future__ import annotations

from dataclasses import dataclass

from semtok.codebooks.codebooks import Codebooks
from semtok.errors import ConfigError, check_positive
from semtok.networks.generators import GeneratorConfig


@dataclass(frozen=True)
class SpeakerConfig:
    """How a vocoder is told whose voice: by an embedding of `dim` numbers.

    With `channels` the vocoder has a speaker encoder of that width; without, embeddings are given.
    """

    dim: int
    channels: int | None = None

    def __post_init__(self) -> None:
        check_positive(self, "dim", *([] if self.channels is None else ["channels"]))


@dataclass(frozen=True)
class VocoderConfig:
    """Vocoder section of `config.json`; `codebooks` and `fingerprint` are those of its tokenizer.

    With `absent_embedding` absent layers are attended to by a learned embedding (SpeechBrain), else they are left out.
    Without `speaker` it cannot be told whose voice.
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
        check_positive(self, "embedding_dim", "attention_dim", "sample_rate", "hop_length")
        if self.generator.hop_length != self.hop_length:
            raise ConfigError(
                f"the generator makes {self.generator.hop_length} samples a frame, expected {self.hop_length}"
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """In the order of `codebooks`."""
        return self.codebooks.layers
