"""Training configs: a YAML file a step, read into frozen dataclasses; unknown and missing keys are errors."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from semtok.config import Config, GeneratorConfig, read_config
from semtok.errors import ConfigError


@dataclasses.dataclass(frozen=True)
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


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Masked prediction. `model` is passed to transformers' HubertConfig; after `second_round_step` steps the masked
    targets are replaced by k-means of the features of `second_round_layer` (HuBERT's second iteration)."""

    folder: str
    data: list[str]
    model: dict[str, Any]
    targets: list[Target]
    steps: int
    batch_seconds: float
    crop_seconds: float
    learning_rate: float
    warmup_steps: int
    mask_probability: float
    mask_length: int
    visible_weight: float
    second_round_step: int
    second_round_layer: int
    target_hours: float
    validation_clips: int
    save_every: int
    precision: str = "float32"
    weight_decay: float = 0.01
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class KMeansConfig:
    """One codebook for each of `layers`, fitted on `hours` of the data.

    `encoder` is a folder, saved with the tokenizer, or a hub id at the commit `encoder_revision`, saved by reference.
    With `half_precision` centroids, and an encoder of a folder, are rounded to float16 first, which halves their files.
    """

    folder: str
    data: list[str]
    encoder: str
    layers: list[int]
    codebook_sizes: list[int]
    normalize: bool
    hours: float
    encoder_revision: str | None = None
    half_precision: bool = False
    iterations: int = 30
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class VocoderTrainingConfig:
    """The scalable vocoder on tokens of `tokenizer`, a checkpoint folder.

    Up to `adversarial_step` the spectral loss acts alone, on `batch_size` crops of `crop_frames`; from then on the
    discriminators act too, which cost several generator steps each, on batches of their own (usually smaller) shape.
    `half_precision` rounds the saved weights to float16.
    """

    folder: str
    data: list[str]
    tokenizer: str
    embedding_dim: int
    attention_dim: int
    embeddings_from_centroids: bool
    generator: GeneratorConfig
    steps: int
    batch_size: int
    crop_frames: int
    learning_rate: float
    warmup_steps: int
    adversarial_step: int
    adversarial_batch_size: int
    adversarial_crop_frames: int
    adversarial_learning_rate: float
    mel_weight: float
    feature_matching_weight: float
    periods: list[int]
    period_channels: list[int]
    windows: list[int]
    spectrogram_channels: int
    target_rms: float
    validation_clips: int
    save_every: int
    half_precision: bool = False
    precision: str = "float32"
    average_decay: float = 0.999
    seed: int = 0

    def shape(self, step: int) -> tuple[int, int]:
        """Batch size and frames of a crop at a step."""
        if step > self.adversarial_step:
            return self.adversarial_batch_size, self.adversarial_crop_frames
        return self.batch_size, self.crop_frames

    def learning_rate_at(self, step: int) -> float:
        """Warm-up, then a cosine to a tenth until the adversarial phase, which has a constant rate of its own."""
        if step > self.adversarial_step:
            return self.adversarial_learning_rate
        progress = min(1.0, step / min(self.adversarial_step, self.steps))
        cosine = 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2
        return self.learning_rate * min(1.0, step / self.warmup_steps) * cosine


def load_config(path: str | Path, kind: type[Config]) -> Config:
    """Reads a YAML file into `kind`.

    Raises:
        ConfigError: if the file is missing or not YAML, or has unknown, missing or ill-typed entries.
    """
    import yaml

    try:
        entries = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path} (looked from {Path.cwd()})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return read_config(entries, kind, str(path))
