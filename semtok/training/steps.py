"""The steps of training: each is a function here that reads its config and trains, or a task of `TASKS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from semtok.downstream.tasks import TASKS
from semtok.errors import ConfigError, needs_extra


@dataclass(frozen=True)
class Step:
    """A step of training.

    Args:
        help: of `semtok train STEP`.
        run: takes the path of a YAML config and changes to it, "key=value", and trains.
    """

    help: str
    run: Callable[[str, Sequence[str]], None]


def train(step: str, config: str, changes: Sequence[str] = ()) -> None:
    """Runs one of `STEPS` with its YAML config; a run that was stopped goes on from its last saved state.

    `changes` are "key=value" or "section.key=value".

    Raises:
        SemtokError: no such step, the extra `train` is not installed, the config is wrong, or there is no audio.
    """
    if step not in STEPS:
        raise ConfigError(f"there is no step {step!r} of training, known are {', '.join(STEPS)}")
    with needs_extra("train"):
        STEPS[step].run(config, changes)


def _encoder(config: str, changes: Sequence[str]) -> None:
    from semtok.training.config import load_config
    from semtok.training.encoder.config import EncoderConfig
    from semtok.training.encoder.trainer import train_encoder

    train_encoder(load_config(config, EncoderConfig, changes))


def _kmeans(config: str, changes: Sequence[str]) -> None:
    from semtok.training.config import load_config
    from semtok.training.kmeans.config import KMeansConfig
    from semtok.training.kmeans.trainer import train_kmeans

    train_kmeans(load_config(config, KMeansConfig, changes))


def _vocoder(config: str, changes: Sequence[str]) -> None:
    from semtok.training.config import load_config
    from semtok.training.vocoder.config import VocoderTrainingConfig
    from semtok.training.vocoder.trainer import train_vocoder

    train_vocoder(load_config(config, VocoderTrainingConfig, changes))


def _language(config: str, changes: Sequence[str]) -> None:
    from semtok.training.config import load_config
    from semtok.training.language.config import LanguageConfig
    from semtok.training.language.trainer import train_language

    train_language(load_config(config, LanguageConfig, changes))


def _task(name: str, config: str, changes: Sequence[str]) -> None:
    from semtok.tokenizer import Tokenizer
    from semtok.training.config import load_config
    from semtok.training.downstream import objective_of
    from semtok.training.downstream.trainer import train_task

    objective = objective_of(name)
    settings = load_config(config, objective.Config, changes)
    train_task(objective, settings, Tokenizer.from_pretrained(settings.tokenizer))


STEPS = {
    "encoder": Step(
        "An encoder, by masked prediction.\n\n"
        "Saved in transformers' layout. A run that was stopped goes on from its last saved state.",
        _encoder,
    ),
    "kmeans": Step("A codebook for each chosen layer of an encoder, which makes a tokenizer.", _kmeans),
    "vocoder": Step(
        "The vocoder of a tokenizer.\n\nA run that was stopped goes on from its last saved state.", _vocoder
    ),
    "language": Step("A language model on tokens, which `semtok continue` lets speak.", _language),
} | {name: Step(task.training, partial(_task, name)) for name, task in TASKS.items()}
"""By the names that `semtok train` has for them."""
