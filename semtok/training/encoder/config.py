"""The config of an encoder's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from semtok.errors import ConfigError
from semtok.training.config import GradientConfig
from semtok.training.data.disturbances import Disturbances


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
class DisturbanceConfig(Disturbances):
    """What the student hears in place of clean crops; all that it is to predict comes from the clean ones.

    Attributes:
        clips: the share of crops that are disturbed. The rest stays clean, so that clean speech keeps what it had.
    """

    clips: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_shares("clips")


@dataclass(frozen=True)
class Consistency:
    """Features and codes of a frozen `tokenizer`, of clean crops, that disturbed crops are to have as well.

    With the tokenizer that training started from, noisy speech comes nearer to the tokens of clean speech (Gat et al.,
    2209.15483), and what its layers tell stays as it was.

    Attributes:
        tokenizer: a folder, hub id or bundled name; its encoder has the shape of the student.
        layers: those whose features are compared.
        code_layers: those of them whose codes, of the first stage, are compared as well. Codes that tell how speech
            sounds change with all that is heard, and are not to be learnt.
        weight: of the squared distance of features, counted in variances, so that layers of any scale weigh the same.
        code_weight: of the cross-entropy of codes. Near features may still lie on two sides of a border between cells.
        change_penalty: what a change of code costs, in mean squared distances to the nearest centroid. Codes of
            `code_layers` are then those of least distance and cost (`penalized_codes`), and features the means over
            each run of a code: tokens that flicker less also change less in noise. Zero takes the nearest centroids.
        own_weight: of the same two losses between disturbed crops and the student's own features of the clean ones,
            which are what its tokens will be made of. Each batch then holds its crops twice, clean and disturbed; the
            centroids stay those of `tokenizer`, so that codes cannot become all one.
    """

    tokenizer: str
    layers: list[int]
    code_layers: list[int] = field(default_factory=list)
    weight: float = 4.0
    code_weight: float = 1.0
    change_penalty: float = 0.0
    own_weight: float = 0.0

    @property
    def pairs(self) -> bool:
        """Whether each crop is given both clean and disturbed."""
        return self.own_weight > 0


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(GradientConfig):
    """Distillation from `teachers`, masked prediction of classes, or both.

    `model` is passed to the configuration of transformers that its `model_type` names (HuBERT by default); with
    `start_from`, a folder or hub id, training goes on from its weights. `targets` are classes to predict; after
    `second_round_step` steps the masked ones are replaced by k-means of the features of `second_round_layer` (HuBERT's
    second iteration). `regressions` keep acoustic detail in the lower layers, which classes and teachers let go. With
    `disturbances` the student hears speech that is not clean; `consistency` asks it for the tokens of the clean speech.
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
    disturbances: DisturbanceConfig | None = None
    consistency: Consistency | None = None
    start_from: str | None = None
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.teachers or self.targets or self.regressions or self.consistency):
            raise ConfigError("an encoder learns from teachers, targets, regressions or consistency: give at least one")
        if self.consistency is not None and self.disturbances is None:
            raise ConfigError("consistency is between clean and disturbed crops: it needs disturbances")

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then linear decay to a twentieth."""
        left = (self.steps - step) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * min(step / max(1, self.warmup_steps), 0.05 + 0.95 * left)
