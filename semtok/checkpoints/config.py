"""What a checkpoint's `config.json` says, as frozen dataclasses; unknown, missing and ill-typed entries are errors."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer, check_mixtures, deepest, in_order
from semtok.codebooks.segmentation import Segmentation
from semtok.errors import ConfigError, check_sizes
from semtok.networks.config import VocoderConfig
from semtok.support.atomic import atomic_write

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
        codebooks: of the layers; the file has the lists of `Codebooks.entries` in its place, with ascending layers.
        dim: of the encoder's features and so of the centroids.
        sample_rate: of the waveforms, Hz.
        hop_length: samples a frame.
        fingerprint: hash of encoder and centroids, which tokens and vocoders carry.
        encoder_revision: commit of the hub id; None for the folder.
        normalize_epsilon: what normalising adds to the variance: 1e-7 in transformers, 1e-5 in fairseq and SpeechBrain.
        mixtures: of those layers that have a name, the weights of the numbered layers that they are the sum of.
        segmentation: joins the frames of the one layer to segments; by default each frame has a code of its own.
    """

    encoder: str
    normalize: bool
    codebooks: Codebooks
    dim: int
    sample_rate: int
    hop_length: int
    fingerprint: str
    encoder_revision: str | None = None
    normalize_epsilon: float = 1e-7
    mixtures: dict[str, dict[int, float]] = dataclasses.field(default_factory=dict)
    segmentation: Segmentation | None = None

    def __post_init__(self) -> None:
        check_sizes(self, "dim", "sample_rate", "hop_length")
        check_mixtures(self.mixtures)
        if (named := {layer for layer in self.layers if isinstance(layer, str)}) != self.mixtures.keys():
            raise ConfigError(
                f"layers {sorted(named)} have a name, and the mixtures are {sorted(self.mixtures)}: each such layer "
                "needs its weights, and there can be no others"
            )
        if self.segmentation is not None:
            self._check_segmentation(self.segmentation)
        if (self.encoder == ENCODER) != (self.encoder_revision is None):
            raise ConfigError(
                f"encoder {self.encoder!r} with encoder_revision {self.encoder_revision!r}: "
                "expected a hub id with the commit to use, or 'encoder', the folder beside, without"
            )

    def _check_segmentation(self, segmentation: Segmentation) -> None:
        if len(self.codebooks.sizes) != 1:
            raise ConfigError(f"segments have one code: expected one layer of one stage, got {self.codebooks}")
        depth, boundary = deepest(self.codebooks, self.mixtures), segmentation.boundary_layer
        if boundary is not None and boundary > depth:
            raise ConfigError(
                f"boundary_layer must be a layer up to {depth}, beyond which the encoder is not run; got {boundary}"
            )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order of `codebooks`."""
        return self.codebooks.layers

    def select(self, layers: Iterable[Layer], *, owner: str) -> TokenizerConfig:
        """The config of some of the layers, in the order asked for; arguments and errors as in `check_layers`."""
        codebooks = self.codebooks.select(layers, owner=owner)
        mixtures = {name: weights for name, weights in self.mixtures.items() if name in codebooks}
        return dataclasses.replace(self, codebooks=codebooks, mixtures=mixtures)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """A whole `config.json`: a folder holds a tokenizer, a vocoder, or both of one fingerprint.

    Where there is a `model_type`, the auto classes of transformers open it too; see `semtok.export.audio_tokenizer`.
    """

    format_version: int
    tokenizer: TokenizerConfig | None = None
    vocoder: VocoderConfig | None = None
    model_type: str | None = None

    def __post_init__(self) -> None:
        for name, part in (("tokenizer", self.tokenizer), ("vocoder", self.vocoder)):
            if part and part.layers != in_order(part.layers):
                raise ConfigError(f"{name}: layers must be ascending, mixtures last, got {list(part.layers)}")
            if part and min(part.codebooks.sizes) < 2:
                raise ConfigError(f"{name}: codebook_sizes must be each at least 2, got {list(part.codebooks.sizes)}")
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
    hints = typing.get_type_hints(kind)
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    with_codebooks = hints.get("codebooks") is Codebooks
    if with_codebooks:
        del hints["codebooks"]
        hints |= dict.fromkeys(Codebooks.ENTRIES, tuple[int, ...]) | {"layers": tuple[Layer, ...]}
        required = required - {"codebooks"} | {"layers", "codebook_sizes"}
    known = hints.keys() & (fields.keys() | set(Codebooks.ENTRIES))
    if unknown := sorted(map(str, entries.keys() - known)):
        raise ConfigError(f"{where}: unknown keys {unknown}; known are {sorted(known)}")
    if missing := sorted(required - entries.keys()):
        raise ConfigError(f"{where}: missing keys {missing}")
    values = {name: _convert(value, hints[name], f"{where}: {name}") for name, value in entries.items()}
    try:
        if with_codebooks:
            lists = {name: values.pop(name) for name in Codebooks.ENTRIES if name in values}
            values["codebooks"] = Codebooks.from_rows(**lists)
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def config_entries(config: Any) -> dict[str, Any]:
    """The fields of a dataclass that are neither None nor empty by default, as JSON; `read_config` reads them."""
    entries: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Codebooks):
            entries |= value.entries
        elif value is not None and not (value == {} and field.default_factory is dict):
            plain = value.item() if isinstance(value, np.generic) else value
            entries[field.name] = config_entries(plain) if dataclasses.is_dataclass(plain) else plain
    return entries


def write_config(path: Path, config: Any) -> None:
    """Writes a config as JSON; the file appears whole."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(config_entries(config), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
    if origin is dict and isinstance(value, dict) and arguments[0] is int:  # keys of JSON are text
        try:
            return {int(key): _convert(v, arguments[1], f"{where}[{key}]") for key, v in value.items()}
        except ValueError:
            raise ConfigError(f"{where}: expected numbers as keys, got {list(value)}") from None
    if origin is dict and isinstance(value, dict):
        return {key: _convert(v, arguments[1], f"{where}[{key}]") for key, v in value.items()}
    if expected is float and type(value) is int:
        return float(value)
    if expected is int and type(value) is float and value.is_integer():  # 1e4 is a number of steps too
        return int(value)
    if type(value) is (origin or expected) and not (type(value) is float and not math.isfinite(value)):
        return value
    raise ConfigError(f"{where}: expected {getattr(expected, '__name__', expected)}, got {repr(value)[:200]}")
