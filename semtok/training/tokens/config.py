"""The config of rows that are learnt."""

from __future__ import annotations

from dataclasses import dataclass, field

from semtok.codebooks.layers import is_layer
from semtok.errors import ConfigError, check_positive
from semtok.training.config import GradientConfig, warm_cosine

ASSIGNMENTS = ("straight_through", "gumbel")


@dataclass(frozen=True)
class RowConfig:
    """A row to learn, and the weights of its losses; those of weight 0 are left out.

    `name` is what it is called in the tokenizer. It starts as the k-means of the mean of all layers, or, with a
    `start_layer`, of a mixture in which that layer has most of the weight.

    `texts`: CTC on the column `text`. `features`: squared error of the normalised features of all layers, as a linear
    map guesses them from the row. `mels`: absolute error of the log-mel spectrum. `labels`: cross-entropy of columns
    such as `speaker` and `emotion`, one label a clip; a weight below 0 teaches the row to hide the label, by a reversed
    gradient (Ganin and Lempitsky, 2015). `use`: how far the codes are from being used alike.
    """

    name: str
    codebook_size: int
    start_layer: int | None = None
    texts: float = 0.0
    features: float = 0.0
    mels: float = 0.0
    labels: dict[str, float] = field(default_factory=dict)
    use: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not is_layer(self.name):
            raise ConfigError(f"a row needs a name of letters a-z and digits such as 'mix', got {self.name!r}")
        if self.codebook_size < 2:
            raise ConfigError(f"row {self.name!r}: codebook_size must be at least 2, got {self.codebook_size}")
        if min(self.texts, self.features, self.mels, self.use) < 0:
            raise ConfigError(f"row {self.name!r}: only weights of labels can be below 0")
        if not any([self.texts, self.features, self.mels, *self.labels.values()]):
            raise ConfigError(f"row {self.name!r} has no loss: give a weight to texts, features, mels or labels")


@dataclass(frozen=True, kw_only=True)
class TokensConfig(GradientConfig):
    """Rows of codes from learnt mixtures of `layers` of an encoder, and what they learn from.

    `encoder` is a folder, saved with the tokenizer, or a hub id at the commit `encoder_revision`; it stays as it is,
    but for its last `trained_layers`, which learn at `encoder_learning_rate`. Clips longer than `longest_seconds` are
    left out; a batch has `batch_seconds` of the others, padding included.

    The `assignment` of a frame to a code is its nearest centroid; gradients flow as if it were a softmax over all,
    whose temperature falls from `temperature` to `last_temperature`, in units of the mean squared distance of a frame
    to its centroid at the start. `gumbel` draws codes from that softmax (Jang et al., 2017), `straight_through` takes
    the nearest.

    Codebooks start by k-means on `start_hours` of the data. A code that `revive_every` steps did not use moves to a
    frame of the batch. Losses on texts and labels have networks of so many `hidden` units of their own.
    """

    encoder: str
    normalize: bool
    layers: list[int]
    rows: list[RowConfig]
    encoder_revision: str | None = None
    trained_layers: int = 0
    encoder_learning_rate: float = 1e-5
    longest_seconds: float = 20.0
    batch_seconds: float = 60.0
    assignment: str = "straight_through"
    temperature: float = 1.0
    last_temperature: float = 0.1
    start_hours: float = 0.5
    revive_every: int = 100
    hidden: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "revive_every", "hidden")
        if min(self.longest_seconds, self.batch_seconds, self.start_hours) <= 0:
            raise ConfigError("longest_seconds, batch_seconds and start_hours must be above zero")
        names = [row.name for row in self.rows]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"rows need names of their own, and there must be one, got {names}")
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"layers must be numbers, none twice, got {self.layers}")
        if wrong := [row.start_layer for row in self.rows if row.start_layer not in [None, *self.layers]]:
            raise ConfigError(f"start_layer must be one of layers {self.layers}, got {wrong}")
        if self.assignment not in ASSIGNMENTS:
            raise ConfigError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, got {self.assignment!r}")
        if not 0 < self.last_temperature <= self.temperature:
            raise ConfigError(
                f"the temperature must fall, from {self.temperature} to something above 0, got {self.last_temperature}"
            )
        if not 0 <= self.trained_layers <= max(self.layers):
            raise ConfigError(f"trained_layers must be from 0 to {max(self.layers)}, got {self.trained_layers}")

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine to a tenth."""
        return warm_cosine(self, step)

    def temperature_at(self, step: int) -> float:
        """Falls by the same factor each step."""
        return float(self.temperature * (self.last_temperature / self.temperature) ** (step / self.steps))
