"""The steps of training: each is a function here that reads its config and trains, or a task of `TASKS`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from semtok.downstream.tasks import TASKS
from semtok.errors import ConfigError, needs_extra


@dataclass(frozen=True)
class Step:
    """A step of training.

    Args:
        help: of `semtok train STEP`.
        run: takes the path of a YAML config and changes to it, "key=value", trains, and gives the run's folder.
        product: what is made, in that folder, unless there is a `best`.
        then: a command for the product.
    """

    help: str
    run: Callable[[str, Sequence[str]], str]
    product: str
    then: str


def train(step: str, config: str, changes: Sequence[str] = ()) -> Path:
    """Runs one of `STEPS` with its YAML config; a run that was stopped goes on from its last saved state.

    Gives the folder of what was made: the best of the states that were validated, where a step chooses among them.

    `changes` are "key=value" or "section.key=value".

    Raises:
        SemtokError: no such step, the extra `train` is not installed, the config is wrong, or there is no audio.
    """
    if step not in STEPS:
        raise ConfigError(f"there is no step {step!r} of training, known are {', '.join(STEPS)}")
    with needs_extra("train"):
        folder = Path(STEPS[step].run(config, changes))
    best = folder / "best"
    return best if best.is_dir() else folder / STEPS[step].product


def _encoder(config: str, changes: Sequence[str]) -> str:
    from semtok.training.config import load_config
    from semtok.training.encoder.config import EncoderConfig
    from semtok.training.encoder.trainer import train_encoder

    settings = load_config(config, EncoderConfig, changes)
    train_encoder(settings)
    return settings.folder


def _kmeans(config: str, changes: Sequence[str]) -> str:
    from semtok.training.config import load_config
    from semtok.training.kmeans.config import KMeansConfig
    from semtok.training.kmeans.trainer import train_kmeans

    settings = load_config(config, KMeansConfig, changes)
    train_kmeans(settings)
    return settings.folder


def _tokens(config: str, changes: Sequence[str]) -> str:
    from semtok.training.config import load_config
    from semtok.training.tokens.config import TokensConfig
    from semtok.training.tokens.trainer import train_tokens

    settings = load_config(config, TokensConfig, changes)
    train_tokens(settings)
    return settings.folder


def _vocoder(config: str, changes: Sequence[str]) -> str:
    from semtok.training.config import load_config
    from semtok.training.vocoder.config import VocoderTrainingConfig
    from semtok.training.vocoder.trainer import train_vocoder

    settings = load_config(config, VocoderTrainingConfig, changes)
    train_vocoder(settings)
    return settings.folder


def _language(config: str, changes: Sequence[str]) -> str:
    from semtok.training.config import load_config
    from semtok.training.language.config import LanguageConfig
    from semtok.training.language.trainer import train_language

    settings = load_config(config, LanguageConfig, changes)
    train_language(settings)
    return settings.folder


def _task(name: str, config: str, changes: Sequence[str]) -> str:
    from semtok.tokenizer import Tokenizer
    from semtok.training.config import load_config
    from semtok.training.downstream import objective_of
    from semtok.training.downstream.trainer import train_task

    objective = objective_of(name)
    settings = load_config(config, objective.Config, changes)
    train_task(objective, settings, Tokenizer.from_pretrained(settings.tokenizer))
    return settings.folder


def tell_worth(folder: Path) -> str:
    """In a few words, what a finished run of this folder is worth: on test clips, or on those that chose the best."""
    test, log = folder / "test.json", folder / "log.jsonl"
    if test.exists():
        numbers = json.loads(test.read_text(encoding="utf-8"))
        worth = {name: value for name, value in numbers.items() if isinstance(value, float)}
        return "on test clips " + _in_words(worth) if worth else ""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    validated = [{name: value for name, value in line.items() if name.startswith("valid_")} for line in lines]
    validated = [numbers for numbers in validated if numbers]
    if not validated:
        return ""
    return "on validation clips " + _in_words(min(validated, key=lambda numbers: next(iter(numbers.values()))))


def _in_words(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name.removeprefix('valid_')} {value:.3g}" for name, value in list(numbers.items())[:4])


STEPS = {
    "encoder": Step(
        "An encoder, by masked prediction.\n\n"
        "Saved in transformers' layout. A run that was stopped goes on from its last saved state.",
        _encoder,
        "encoder",
        "semtok study {} --audio FOLDER -o report",
    ),
    "kmeans": Step(
        "A codebook for each chosen layer of an encoder, which makes a tokenizer.",
        _kmeans,
        "tokenizer",
        "semtok encode FILE -o tokens.safetensors -c {}",
    ),
    "tokens": Step(
        "Rows of codes of learnt mixtures of layers, by what they are for: texts, labels, sound.\n\n"
        "A run that was stopped goes on from its last saved state.",
        _tokens,
        "tokenizer",
        "semtok encode FILE -o tokens.safetensors -c {}",
    ),
    "vocoder": Step(
        "The vocoder of a tokenizer.\n\nA run that was stopped goes on from its last saved state.",
        _vocoder,
        "checkpoint",
        "semtok resynth FILE -o again.wav -c {}",
    ),
    "language": Step(
        "A language model on tokens, which `semtok continue` lets speak.",
        _language,
        "model",
        "semtok continue FILE -o continued.wav --model {}",
    ),
} | {
    name: Step(task.training, partial(_task, name), "model", f"semtok {task.method} {task.example} --model {{}}")
    for name, task in TASKS.items()
}
"""By the names that `semtok train` has for them."""
