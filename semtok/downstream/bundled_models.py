"""The models on tokens that come with semtok, by name: what each does, and what it is trained by."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from semtok.checkpoints.hub import BUNDLED, BUNDLED_MODELS
from semtok.errors import CheckpointError
from semtok.support.json import read_json

# Not imported from where they are written, as that takes torch; the command line asks for names at once.
_CONFIG, _LANGUAGE = "config.json", "language.json"


@dataclass(frozen=True)
class BundledModel:
    """A name, whether or not this version of semtok has the model.

    Args:
        name: which `from_pretrained` takes.
        step: of `semtok train`: a task of `TASKS`, or "language".
        config: in `configs/tiny`, by which it is trained.
    """

    name: str
    step: str
    config: str

    @property
    def folder(self) -> Path:
        """Where it is, if it comes with semtok."""
        return BUNDLED_MODELS / self.name

    @property
    def is_there(self) -> bool:
        """Whether it comes with this version, and takes the tokens of the tokenizer that does."""
        if not (self.folder / _CONFIG).is_file():
            return False
        facts = self.facts()
        tokenizer = read_json(BUNDLED / facts["tokenizer"] / _CONFIG, CheckpointError)["tokenizer"]
        return bool(facts["fingerprint"] == tokenizer["fingerprint"])

    def facts(self) -> dict[str, str]:
        """Its tokenizer, the fingerprint of that, and the layers that it reads, and that it makes if it makes tokens.

        Read without the packages that run it.
        """
        output_layers = None
        if self.step == "language":
            entries = read_json(self.folder / _LANGUAGE, CheckpointError)
            tokenizer, of_tokens = entries["checkpoint"], entries["vocabulary"]
            output_layers = of_tokens["layers"]
        else:
            entries = of_tokens = read_json(self.folder / _CONFIG, CheckpointError)
            tokenizer = entries["tokenizer"]
            if self.step in ("enhance", "tts"):
                output_layers = entries["head"].get("layers") or entries["layers"]
        facts = {"tokenizer": tokenizer, "fingerprint": of_tokens["fingerprint"]}
        layers = {"reads": of_tokens["layers"], "makes": output_layers}
        return facts | {use: "layers " + ", ".join(map(str, of)) for use, of in layers.items() if of}

    @property
    def instead(self) -> str:
        """What to do where it is not there."""
        return (
            f"train one in a clone of semtok, `semtok train {self.step} configs/tiny/{self.config}.yaml`, and name its "
            f"folder, runs/tiny/{self.config}/best, or name the hub id of a model"
        )


BUNDLED_BY_NAME = {
    model.name: model
    for model in (
        BundledModel("tiny-speaker", "speaker", "speaker"),
        BundledModel("tiny-emotion", "classifier", "emotion"),
        BundledModel("tiny-keywords", "classifier", "keywords"),
        BundledModel("tiny-asr", "asr", "asr"),
        BundledModel("tiny-tts", "tts", "tts"),
        BundledModel("tiny-continue", "language", "language"),
        BundledModel("tiny-enhance", "enhance", "enhance"),
    )
}
"""In the order of training: text to speech is aligned by the recogniser."""


def bundled_of(step: str) -> list[BundledModel]:
    """The models of a step of training, whether they are there or not."""
    return [model for model in BUNDLED_BY_NAME.values() if model.step == step]


def default_model(step: str) -> str:
    """The name of the first model of a step that is there, for a command that is given none.

    Raises:
        CheckpointError: none is; what to do is said.
    """
    models = bundled_of(step)
    if there := [model.name for model in models if model.is_there]:
        return there[0]
    names = " or ".join(model.name for model in models)
    raise CheckpointError(f"{names} does not come with this version of semtok: {models[0].instead}, as --model")


def check_name(name: str | os.PathLike[str]) -> None:
    """Refuses the name of a model that is not there, unless a folder is called so.

    Raises:
        CheckpointError: with what to do.
    """
    model = BUNDLED_BY_NAME.get(os.fspath(name))
    if model is not None and not (model.folder / _CONFIG).is_file() and not Path(name).is_dir():
        raise CheckpointError(f"{model.name} does not come with this version of semtok: {model.instead}")
