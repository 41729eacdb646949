"""Sizes of a vocoder and its generator, as `config.json` and training configs give them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from semtok.codebooks.layers import check_codebooks, check_positive
from semtok.errors import ConfigError


@dataclass(frozen=True)
class HiFiGANConfig:
    """Arguments of `modules.generator.HiFiGAN` beside the input's dimension."""

    channels: int
    upsample_factors: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilations: tuple[int, ...]

    def __post_init__(self) -> None:
        factors, kernels = self.upsample_factors, self.upsample_kernel_sizes
        # Otherwise a transposed convolution would not make exactly `factor` samples of each.
        if len(factors) != len(kernels) or any(k < f or (k - f) % 2 for f, k in zip(factors, kernels, strict=True)):
            raise ConfigError(
                f"each of upsample_factors {factors} needs a kernel as large or larger by an even number, got {kernels}"
            )
        if self.channels % 2 ** len(factors) or self.channels < 1:
            raise ConfigError(f"channels {self.channels} cannot be halved {len(factors)} times")
        if not self.resblock_kernel_sizes or any(kernel % 2 == 0 for kernel in self.resblock_kernel_sizes):
            raise ConfigError(f"resblock_kernel_sizes must be odd numbers, got {self.resblock_kernel_sizes}")

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        return math.prod(self.upsample_factors)


@dataclass(frozen=True)
class ISTFTConfig:
    """Arguments of `modules.generator.ISTFTGenerator` beside the input's dimension."""

    hop_length: int
    width: int
    hidden: int
    blocks: int
    n_fft: int
    stft_hop_length: int

    def __post_init__(self) -> None:
        check_positive(self, "hop_length", "width", "hidden", "blocks", "n_fft", "stft_hop_length")
        if self.hop_length % self.stft_hop_length:
            raise ConfigError(f"stft_hop_length {self.stft_hop_length} must divide the hop_length {self.hop_length}")
        if self.n_fft % 2 or self.n_fft < 2 * self.stft_hop_length:
            raise ConfigError(
                f"n_fft {self.n_fft} must be even and at least twice the stft_hop_length {self.stft_hop_length}, "
                "so that windows overlap everywhere"
            )


@dataclass(frozen=True)
class GeneratorConfig:
    """Which generator, by the one entry that is there: `{"hifigan": {...}}` or `{"istft": {...}}`."""

    hifigan: HiFiGANConfig | None = None
    istft: ISTFTConfig | None = None

    def __post_init__(self) -> None:
        if (self.hifigan is None) == (self.istft is None):
            raise ConfigError("a generator is given by exactly one of the entries 'hifigan' and 'istft'")

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        chosen = self.hifigan or self.istft
        assert chosen is not None
        return chosen.hop_length


@dataclass(frozen=True)
class SpeakerConfig:
    """How a vocoder is told whose voice: by an embedding of `dim` numbers.

    With `channels` the vocoder has a `modules.speaker.SpeakerEncoder` of that width; without, embeddings are given.
    """

    dim: int
    channels: int | None = None

    def __post_init__(self) -> None:
        check_positive(self, "dim", *([] if self.channels is None else ["channels"]))


@dataclass(frozen=True)
class VocoderConfig:
    """Vocoder section of `config.json`; `layers`, `codebook_sizes`, `stages`, `fingerprint` are those of its tokenizer.

    With `absent_embedding` absent layers are attended to by a learned embedding (SpeechBrain), else they are left out.
    Without `speaker` it cannot be told whose voice.
    """

    layers: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    embedding_dim: int
    attention_dim: int
    sample_rate: int
    hop_length: int
    fingerprint: str
    generator: GeneratorConfig
    absent_embedding: bool = False
    stages: tuple[int, ...] = ()
    speaker: SpeakerConfig | None = None

    def __post_init__(self) -> None:
        check_codebooks(self)
        check_positive(self, "embedding_dim", "attention_dim", "sample_rate", "hop_length")
        if self.generator.hop_length != self.hop_length:
            raise ConfigError(
                f"the generator makes {self.generator.hop_length} samples a frame, expected {self.hop_length}"
            )
