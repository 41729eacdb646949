"""What a checkpoint's `config.json` says, as frozen dataclasses; unknown, missing and ill-typed entries are errors."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

from semtok.errors import ConfigError

FORMAT_VERSION = 1

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Tokenizer section of `config.json`.

    Args:
        encoder: a hub id, or "encoder" for the folder of that name beside `config.json`.
        normalize: whether the encoder takes input of zero mean and unit variance.
        layers: encoder layers that have a codebook, ascending.
        codebook_sizes: of each layer.
        dim: of the encoder's features and so of the centroids.
        sample_rate: of the waveforms, Hz.
        hop_length: samples a frame.
        fingerprint: hash of encoder and centroids, which tokens and vocoders carry.
        encoder_revision: commit of the hub id; None for the folder.
        normalize_epsilon: what normalising adds to the variance: 1e-7 in transformers, 1e-5 in fairseq and SpeechBrain.
    """

    encoder: str
    normalize: bool
    layers: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    dim: int
    sample_rate: int
    hop_length: int
    fingerprint: str
    encoder_revision: str | None = None
    normalize_epsilon: float = 1e-7

    def __post_init__(self) -> None:
        _check_codebooks(self.layers, self.codebook_sizes)
        _check_positive(self, "dim", "sample_rate", "hop_length")
        if (self.encoder == "encoder") != (self.encoder_revision is None):
            raise ConfigError(
                f"encoder {self.encoder!r} with encoder_revision {self.encoder_revision!r}: "
                "expected a hub id with the commit to use, or 'encoder', the folder beside, without"
            )


@dataclasses.dataclass(frozen=True)
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


@dataclasses.dataclass(frozen=True)
class ISTFTConfig:
    """Arguments of `modules.generator.ISTFTGenerator` beside the input's dimension."""

    hop_length: int
    width: int
    hidden: int
    blocks: int
    n_fft: int
    stft_hop_length: int

    def __post_init__(self) -> None:
        _check_positive(self, "hop_length", "width", "hidden", "blocks", "n_fft", "stft_hop_length")
        if self.hop_length % self.stft_hop_length:
            raise ConfigError(f"stft_hop_length {self.stft_hop_length} must divide the hop_length {self.hop_length}")
        if self.n_fft % 2 or self.n_fft < 2 * self.stft_hop_length:
            raise ConfigError(
                f"n_fft {self.n_fft} must be even and at least twice the stft_hop_length {self.stft_hop_length}, "
                "so that windows overlap everywhere"
            )


@dataclasses.dataclass(frozen=True)
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


@dataclasses.dataclass(frozen=True)
class VocoderConfig:
    """Vocoder section of `config.json`; `layers`, `codebook_sizes` and `fingerprint` are those of its tokenizer.

    With `absent_embedding` absent layers are attended to by a learned embedding (SpeechBrain), else they are left out.
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

    def __post_init__(self) -> None:
        _check_codebooks(self.layers, self.codebook_sizes)
        _check_positive(self, "embedding_dim", "attention_dim", "sample_rate", "hop_length")
        if self.generator.hop_length != self.hop_length:
            raise ConfigError(
                f"the generator makes {self.generator.hop_length} samples a frame, expected {self.hop_length}"
            )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """A whole `config.json`: a folder holds a tokenizer, a vocoder, or both of one fingerprint."""

    format_version: int
    tokenizer: TokenizerConfig | None = None
    vocoder: VocoderConfig | None = None

    def __post_init__(self) -> None:
        if self.tokenizer and self.vocoder and self.tokenizer.fingerprint != self.vocoder.fingerprint:
            raise ConfigError(
                f"tokenizer {self.tokenizer.fingerprint} and a vocoder of tokenizer {self.vocoder.fingerprint} "
                "cannot share a folder"
            )


def read_config(entries: Any, kind: type[Config], where: str) -> Config:
    """Entries as parsed from JSON or YAML into the dataclass `kind`; `where` names their file.

    Raises:
        ConfigError: unknown, missing or ill-typed entries, or some that contradict each other, named with the file.
    """
    if not isinstance(entries, dict):
        raise ConfigError(f"{where}: expected keys and values, got {entries!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if unknown := sorted(map(str, entries.keys() - fields.keys())):
        raise ConfigError(f"{where}: unknown keys {unknown}; known are {sorted(fields)}")
    if missing := sorted(required - entries.keys()):
        raise ConfigError(f"{where}: missing keys {missing}")
    hints = typing.get_type_hints(kind)
    values = {name: _convert(value, hints[name], f"{where}: {name}") for name, value in entries.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(value: Any, expected: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in arguments:
            return None
        return _convert(value, next(kind for kind in arguments if kind is not types.NoneType), where)
    if dataclasses.is_dataclass(expected):
        return read_config(value, expected, where)  # type: ignore[arg-type]
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        endless = origin is list or arguments[-1] is Ellipsis
        kinds = (arguments[0],) * len(value) if endless else arguments
        if len(kinds) == len(value):
            return origin(
                _convert(v, kind, f"{where}[{i}]") for i, (v, kind) in enumerate(zip(value, kinds, strict=True))
            )
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is (origin or expected):
        return value
    raise ConfigError(f"{where}: expected {getattr(expected, '__name__', expected)}, got {value!r}")


def _check_codebooks(layers: tuple[int, ...], codebook_sizes: tuple[int, ...]) -> None:
    if not layers or layers[0] < 0 or list(layers) != sorted(set(layers)):
        raise ConfigError(f"layers must be ascending numbers from 0, none twice, got {list(layers)}")
    if len(codebook_sizes) != len(layers) or min(codebook_sizes) < 2:
        raise ConfigError(
            f"layers {list(layers)} need as many codebook_sizes, each at least 2, got {list(codebook_sizes)}"
        )


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, got {getattr(config, name)}")
