"""Training configs: a YAML file a step, read into frozen dataclasses; unknown and missing keys are errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semtok.checkpoints.config import Config, read_config
from semtok.errors import ConfigError
from semtok.training.changes import apply_change

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""What accelerate calls them."""


@dataclass(frozen=True)
class Dataset:
    """Speech of a dataset of the Hugging Face Hub, or of a folder that `datasets` knows how to read.

    `dataset`, `config`, `split` and `revision` are passed to `datasets.load_dataset`; `audio` is the column of
    recordings. With `streaming` its files are read over the network and not stored; `hours` ends it early.
    """

    dataset: str
    split: str
    config: str | None = None
    revision: str | None = None
    audio: str = "audio"
    streaming: bool = False
    hours: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Every step's: the `folder` where it writes, and `data`: folders, manifests (.csv or .jsonl with a column `path`)
    or datasets. Rows of manifests whose column `split` is one of `leave_out_splits` are left out."""

    folder: str
    data: list[str | Dataset]
    seed: int = 0
    leave_out_splits: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class GradientConfig(StepConfig):
    """What the encoder and the vocoder have in common.

    Every `save_every` steps a run is validated on `validation_clips` and its state saved; the last `keep` states are
    kept, and the best. `precision` float32, bfloat16 or float16; by default what `accelerate launch` says, else
    float32. A step adds up the gradients of `gradient_accumulation` batches in each process.
    """

    steps: int
    learning_rate: float
    warmup_steps: int
    validation_clips: int
    save_every: int
    log_every: int = 20
    keep: int = 2
    precision: str | None = None
    gradient_accumulation: int = 1

    def __post_init__(self) -> None:
        if self.precision is not None and self.precision not in PRECISIONS:
            raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        for name in ("steps", "save_every", "log_every", "keep", "gradient_accumulation", "validation_clips"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Target:
    """Classes that one encoder layer predicts: k-means of a feature, some of its principal components emphasised.

    `masked` targets are predicted at masked frames first of all (HuBERT's objective), others at visible frames only.
    """

    layer: int
    features: str
    codebook_size: int
    emphasis: tuple[int, int]
    rest: float
    components: int
    masked: bool = False


@dataclass(frozen=True)
class Regression:
    """An acoustic feature, each dimension at zero mean and unit variance, that a linear map of a layer approximates."""

    layer: int
    features: str
    weight: float


@dataclass(frozen=True)
class Teacher:
    """A pretrained encoder, hub id or folder, to learn from: of any family that semtok has, or Whisper's.

    A linear map of the student's layer `at`, thrown away afterwards, predicts the features of the teacher's `layer`,
    as the first principal `components`, whitened.
    """

    encoder: str
    layer: int
    at: int
    components: int
    weight: float = 1.0
    revision: str | None = None


@dataclass(frozen=True)
class AttentionDecay:
    """What attention scores lose at the start for each frame of distance, of each head: `encoder.locality`."""

    before: list[float]
    after: list[float]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(GradientConfig):
    """Distillation from `teachers`, masked prediction of classes, or both.

    `model` is passed to the configuration of transformers that its `model_type` names (HuBERT by default); with
    `start_from`, a folder or hub id, training goes on from its weights. `targets` are classes to predict; after
    `second_round_step` steps the masked ones are replaced by k-means of the features of `second_round_layer` (HuBERT's
    second iteration). `regressions` keep acoustic detail in the lower layers, which classes and teachers let go. Noise
    is added to a share `noise_probability` of the clips, `noise_snr` dB (lowest, highest) below the speech.
    """

    model: dict[str, Any]
    batch_seconds: float
    crop_seconds: float
    teachers: list[Teacher] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    regressions: list[Regression] = field(default_factory=list)
    attention_decay: AttentionDecay | None = None
    mask_probability: float = 0.0
    mask_length: int = 10
    visible_weight: float = 0.5
    second_round_step: int = 0
    second_round_layer: int = 0
    target_hours: float = 0.5
    noise_probability: float = 0.0
    noise_snr: tuple[float, float] = (5.0, 30.0)
    start_from: str | None = None
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.teachers or self.targets or self.regressions):
            raise ConfigError("an encoder learns from teachers, targets or regressions: give at least one")

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then linear decay to a twentieth."""
        left = (self.steps - step) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * min(step / max(1, self.warmup_steps), 0.05 + 0.95 * left)


@dataclass(frozen=True, kw_only=True)
class KMeansConfig(StepConfig):
    """One codebook for each of `layers`, or, where `codebook_sizes` has a list for it, one for each residual stage.

    `encoder` is a folder, saved with the tokenizer, or a hub id at the commit `encoder_revision`, saved by reference.
    With `half_precision` centroids, and an encoder of a folder, are rounded to float16 first, which halves their files.
    They are fitted to `hours` of the data (all by default). Features that fit in `memory_gib`, over all processes, get
    `iterations` passes at most; more are fitted in such parts, one pass over the audio for each stage. Each process
    encodes `batch_seconds` at a time, padding included.
    """

    encoder: str
    layers: list[int]
    codebook_sizes: list[int | list[int]]
    normalize: bool
    hours: float | None = None
    encoder_revision: str | None = None
    half_precision: bool = False
    iterations: int = 30
    memory_gib: float = 4.0
    batch_seconds: float = 60.0


def load_config(path: str | Path, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Reads a YAML file into `kind`, with `changes` to it: "key=value" or "key.key=value", the values YAML.

    Raises:
        ConfigError: if the file is missing or not YAML, has unknown, missing or ill-typed entries, or a change is no
            such pair.
    """
    import yaml

    try:
        entries = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path} (looked from {Path.cwd()})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    for change in changes:
        apply_change(change, entries)
    return read_config(entries, kind, str(path) if not changes else f"{path} with --set {' '.join(changes)}")
