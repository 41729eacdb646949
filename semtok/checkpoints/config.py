"""What a checkpoint's `config.json` says, as frozen dataclasses; unknown, missing and ill-typed entries are errors."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from semtok.codebooks.layers import check_codebooks, check_positive, row_slices
from semtok.errors import ConfigError
from semtok.networks.config import VocoderConfig

FORMAT_VERSION = 1
CONFIG = "config.json"
ENCODER = "encoder"
"""The folder of a tokenizer's encoder, where it has no hub id of its own."""

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Tokenizer section of `config.json`.

    Args:
        encoder: a hub id, or "encoder" for the folder of that name beside `config.json`.
        normalize: whether the encoder takes input of zero mean and unit variance.
        layers: encoder layers that have a codebook, ascending.
        codebook_sizes: of each layer; of each of its stages, one after the other, where `stages` says that it has some.
        dim: of the encoder's features and so of the centroids.
        sample_rate: of the waveforms, Hz.
        hop_length: samples a frame.
        fingerprint: hash of encoder and centroids, which tokens and vocoders carry.
        encoder_revision: commit of the hub id; None for the folder.
        normalize_epsilon: what normalising adds to the variance: 1e-7 in transformers, 1e-5 in fairseq and SpeechBrain.
        stages: of residual k-means, for each layer; none given says one each.
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
    stages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_codebooks(self)
        check_positive(self, "dim", "sample_rate", "hop_length")
        if (self.encoder == ENCODER) != (self.encoder_revision is None):
            raise ConfigError(
                f"encoder {self.encoder!r} with encoder_revision {self.encoder_revision!r}: "
                "expected a hub id with the commit to use, or 'encoder', the folder beside, without"
            )

    def select(self, layers: Iterable[int]) -> TokenizerConfig:
        """With these of the layers alone, ascending."""
        sizes = dict(zip(self.layers, map(self.codebook_sizes.__getitem__, row_slices(self.stages)), strict=True))
        chosen = tuple(sorted(layers))
        return dataclasses.replace(
            self,
            layers=chosen,
            codebook_sizes=tuple(size for layer in chosen for size in sizes[layer]),
            stages=tuple(len(sizes[layer]) for layer in chosen),
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
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
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
        choices = [kind for kind in arguments if kind is not types.NoneType]
        # of several kinds, the one that the value is of; keys and values are for a section
        fitting = [
            kind
            for kind in choices
            if (dict if dataclasses.is_dataclass(kind) else typing.get_origin(kind) or kind) is type(value)
        ]
        return _convert(value, (fitting or choices)[0], where)
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
