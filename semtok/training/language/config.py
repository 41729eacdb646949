"""Config of the training of a language model on tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from semtok.codebooks.layers import Layer
from semtok.errors import ConfigError, check_positive
from semtok.training.config import GradientConfig, warm_cosine


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(GradientConfig):
    """A decoder-only language model on the tokens of `checkpoint`: a bundled name, a folder or a hub id.

    `data` are corpora of tokens, as `semtok encode-corpus` makes them, or folders of files of tokens. Clips whose
    column `split` is one of `validation_splits` decide which state is best; where no clip is, `validation_clips` drawn
    at random do. Clips of `test_splits` are measured once, at the end; where no clip is, `test_clips` drawn at random.

    `layers` are those that the model reads and writes, in this order; by default the deepest alone. With a
    `max_duration`, repeated frames are written once, with a token for how many frames they last.

    `model` is passed to the configuration of transformers that its `model_type` names (Llama by default). A step takes
    `batch_size` rows of `length` ids, in which utterances are packed in another order in each epoch. The rate rises
    over `warmup_steps` and falls along a cosine to a tenth. `half_precision` rounds what is saved to float16.

    `words` is a file of JSON lines {"path": ..., "words": [[text, start, duration], ...]}, whose paths end as those of
    the clips below the folder that was encoded. With it the model is tested on which of two orders of the words of a
    test clip is the right one, `word_orders` times a clip.
    """

    checkpoint: str
    model: dict[str, Any]
    length: int
    batch_size: int
    test_clips: int
    validation_splits: list[str] = field(default_factory=lambda: ["valid"])
    test_splits: list[str] = field(default_factory=lambda: ["test"])
    layers: list[Layer] | None = None
    max_duration: int = 0
    weight_decay: float = 0.1
    half_precision: bool = False
    words: str | None = None
    word_orders: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "batch_size", "test_clips", "word_orders")
        if self.length < 2:
            raise ConfigError(
                f"length must be at least 2, as an id is predicted from those before it, got {self.length}"
            )

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine to a tenth."""
        return warm_cosine(self, step)
