"""What the configs of all steps share: a YAML file a step, read into a frozen dataclass."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semtok.checkpoints.config import Config, read_config
from semtok.errors import ConfigError
from semtok.speech.sources import Dataset
from semtok.training.changes import apply_change
from semtok.training.config_yaml import parse_yaml

SECTION = {"section": True}
"""Metadata of a config's field: in a file, the entries of this section may stand beside it, without its name."""

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""What accelerate calls them."""


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Every step's: the `folder` where it writes, and `data`: sources of speech, by the names that
    `semtok.speech.sources.open_source` takes, or datasets. Clips whose column `split` is one of `leave_out_splits` are
    left out."""

    folder: str
    data: list[str | Dataset]
    seed: int = 0
    leave_out_splits: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast a network learns.

    Every `save_every` steps a run is validated and its state saved; the last `keep` states are kept, and the best.
    `precision` is float32, bfloat16 or float16; by default what `accelerate launch` says, else float32. A step adds up
    the gradients of `gradient_accumulation` batches in each process.
    """

    steps: int
    learning_rate: float
    warmup_steps: int
    save_every: int
    log_every: int = 20
    keep: int = 2
    precision: str | None = None
    gradient_accumulation: int = 1

    def __post_init__(self) -> None:
        if self.precision is not None and self.precision not in PRECISIONS:
            raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        for name in ("steps", "save_every", "log_every", "keep", "gradient_accumulation"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class GradientConfig(StepConfig, Schedule):
    """What the encoder, the vocoder and the language model have in common; a run is validated on `validation_clips`."""

    validation_clips: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation_clips < 1:
            raise ConfigError(f"validation_clips must be at least 1, got {self.validation_clips}")


def warm_cosine(config: Schedule, step: int) -> float:
    """The learning rate of a step: linear warm-up, then a cosine to a tenth."""
    warm = min(1.0, step / max(1, config.warmup_steps))
    return config.learning_rate * warm * (0.1 + 0.9 * (1 + math.cos(math.pi * step / config.steps)) / 2)


def load_config(path: str | Path, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Reads a YAML file into `kind`, with `changes` to it: "key=value" or "key.key=value", the values YAML.

    Fields of `kind` with the metadata `SECTION` may be written with their name or without, `schedule: {steps: 100}` or
    `steps: 100`, as their keys differ.

    Raises:
        ConfigError: if the file is missing or not YAML, has unknown, missing or ill-typed entries, or a change is no
            such pair.
    """
    entries = _in_sections(read_yaml(path), kind)
    for change in changes:
        apply_change(change, entries)
        entries = _in_sections(entries, kind)
    return read_config(entries, kind, str(path) if not changes else f"{path} with --set {' '.join(changes)}")


def read_yaml(path: str | Path) -> Any:
    """The entries of a YAML file, whatever they are.

    Raises:
        ConfigError: the file is missing or not YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path} (looked from {Path.cwd()})") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no text in UTF-8: {error}") from error
    return parse_yaml(text, str(path))


def _in_sections(entries: Any, kind: type[Config]) -> Any:
    """Entries of a file with those of each section in it; what is no mapping is the first entry of its section."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    sections = {field.name: hints[field.name] for field in fields if field.metadata.get("section")}
    if not (isinstance(entries, dict) and sections):
        return entries
    entries = dict(entries)
    for section, part in sections.items():
        names = [field.name for field in dataclasses.fields(part)]
        value = entries.pop(section, {})
        own = dict(value) if isinstance(value, dict) else {names[0]: value}
        entries[section] = own | {name: entries.pop(name) for name in names if name in entries}
    return entries
