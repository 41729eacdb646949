"""What the `config.json` of a downstream model says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from semtok.checkpoints.config import CONFIG, FORMAT_VERSION, read_config
from semtok.checkpoints.hub import Repository
from semtok.codebooks.codebooks import Codebooks
from semtok.errors import CheckpointError, ConfigError, check_sizes

Fusion = Literal["concatenate", "attention", "gates", "uniform"]
_SCORED = ("attention", "gates")


@dataclass(frozen=True)
class FrontConfig:
    """How the layers become one vector a frame.

    Args:
        dim: of that vector, and of the embeddings of each layer.
        fusion: "concatenate" is a linear map of the embeddings of all layers beside each other, the best on most tasks;
            "attention" the layer selector, whose weights compete; "gates" weighs each layer by a sigmoid of its own
            score; "uniform" is their mean, a baseline. By default "attention" if there is an attention_dim, as in
            configs from before there was a choice, and else "concatenate".
        attention_dim: hidden size of the score, for "attention" and "gates".
        floor: share of each frame that "attention" leaves to the mean of the layers, so that none is lost.
        rank: of the map of "concatenate", fewer numbers to learn; by default it is a full one.
        feature_dim: size of the encoder's features, for a model that hears them instead of tokens (a baseline, and an
            upper bound); by default it takes tokens.
        any_layers: whether it learnt with layers left out, and so takes tokens that lack some.
    """

    dim: int
    fusion: str | None = None
    attention_dim: int | None = None
    floor: float = 0.0
    rank: int | None = None
    feature_dim: int | None = None
    any_layers: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, "dim", "attention_dim", "rank", "feature_dim")
        if self.fusion is None:
            object.__setattr__(self, "fusion", "concatenate" if self.attention_dim is None else "attention")
        if self.fusion not in get_args(Fusion):
            raise ConfigError(f"fusion must be one of {', '.join(get_args(Fusion))}, got {self.fusion!r}")
        if (self.fusion in _SCORED) != (self.attention_dim is not None):
            raise ConfigError(
                f"fusion {' or '.join(map(repr, _SCORED))}, and no other, needs an attention_dim, "
                f"got fusion {self.fusion!r} with attention_dim {self.attention_dim}"
            )
        if not 0 <= self.floor < 1 or (self.floor and self.fusion != "attention"):
            raise ConfigError(f"floor is a share below 1 for fusion 'attention', got {self.floor} for {self.fusion!r}")
        if self.rank is not None and self.fusion != "concatenate":
            raise ConfigError(f"rank is for fusion 'concatenate', got {self.rank} for {self.fusion!r}")


@dataclass(frozen=True)
class DownstreamConfig:
    """A whole `config.json`.

    Args:
        format_version: of the file.
        task: which of `semtok.downstream.TASKS`.
        tokenizer: bundled name, hub id or folder of the tokenizer.
        fingerprint: of the tokenizer.
        codebooks: of the layers that the model takes.
        sample_rate: of the waveforms, Hz.
        hop_length: samples a frame.
        front: how the layers become one vector a frame.
        head: what the task makes of these, as the task's own dataclass says.
        layer_importance: mean share of each layer over the validation clips; none where the layers are averaged.
    """

    format_version: int
    task: str
    tokenizer: str
    fingerprint: str
    codebooks: Codebooks
    sample_rate: int
    hop_length: int
    front: FrontConfig
    head: dict[str, Any]
    layer_importance: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_sizes(self, "sample_rate", "hop_length")
        if len(self.layer_importance) not in (0, len(self.codebooks)):
            raise ConfigError(
                f"layer_importance must have a number for each of layers {list(self.codebooks)}, "
                f"got {list(self.layer_importance)}"
            )


def read_downstream_config(repository: Repository) -> DownstreamConfig:
    """Reads `config.json`.

    Raises:
        CheckpointError: it is missing, not JSON, or not that of a downstream model.
        ConfigError: it has unknown, missing or ill-typed entries, or some that contradict each other.
    """
    entries, path = repository.read_json(CONFIG), repository.file(CONFIG)
    version = entries.get("format_version")
    if version != FORMAT_VERSION or "task" not in entries:
        kind = "a tokenizer or vocoder" if version == FORMAT_VERSION else f"of format_version {version!r}"
        raise CheckpointError(
            f"{path} is no downstream model of format_version {FORMAT_VERSION}, but {kind}: "
            "expected a folder that `semtok train` of a task wrote, or a hub id of one"
        )
    return read_config(entries, DownstreamConfig, str(path))
