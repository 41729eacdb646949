"""The tasks: each is a line here, from which its model, its objective and its commands are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Option:
    """A keyword argument of a model's method that its command takes as an option.

    Args:
        name: of the argument.
        type: of its values; a `Path` is that of a file.
        help: for the command line.
        default: where the option is not given.
        least, most: bounds of a number.
    """

    name: str
    type: Any
    help: str
    default: Any = None
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Task:
    """What models of one kind do.

    Modules are named rather than imported, so that the help of a command loads no torch, and no file of a model and
    this one import each other.

    Args:
        name: in `config.json` and in `semtok train NAME`.
        file: of the model in `semtok/downstream/`, and of its objective in `semtok/training/downstream/`.
        model_name: class of the model.
        method: what the model does, which is also the name of the command.
        form: what the command takes and gives: "describe", audio -> a line of JSON a file; "compare", two files -> a
            line of JSON; "convert", audio -> audio; "speak", text -> audio.
        summary: of the command, in a few words.
        help: of the command.
        training: help of `semtok train NAME`.
        options: of the command, beside those of its form.
    """

    name: str
    file: str
    model_name: str
    method: str
    form: Literal["describe", "compare", "convert", "speak"]
    summary: str
    help: str
    training: str
    options: tuple[Option, ...] = ()

    @property
    def example(self) -> str:
        """Arguments of the command."""
        return {
            "describe": "FILE",
            "compare": "FILE OTHER",
            "convert": "FILE -o out.wav",
            "speak": '"Hello world" -o out.wav',
        }[self.form]

    @property
    def model(self) -> Any:
        """The class of the model, a `DownstreamModel`."""
        return getattr(import_module(f"semtok.downstream.{self.file}"), self.model_name)


TASKS = {
    task.name: task
    for task in (
        Task(
            "asr",
            "recognizer",
            "SpeechRecognizer",
            "transcribe",
            "describe",
            summary="What is said, as text",
            help='What is said: a line of JSON for each file, {"path", "text"}.',
            training="A speech recogniser, on the tokens of a tokenizer.",
            options=(
                Option("beam", int, "Prefixes of a beam search; by default as the model says.", least=1),
                Option("language_model", Path, "ARPA file of words or characters; by default the model's own, if any."),
                Option("lm_weight", float, "Weight of the language model; 0 goes without.", least=0, most=10),
                Option("insertion_bonus", float, "For each of its words, or characters.", least=-20, most=20),
            ),
        ),
        Task(
            "classifier",
            "classifier",
            "UtteranceClassifier",
            "classify",
            "describe",
            summary="Which class, such as an emotion",
            help='The class of each file: a line of JSON, {"path", "label", "probabilities"}.',
            training="A classifier of utterances by any column of a manifest, such as emotion.",
        ),
        Task(
            "speaker",
            "verifier",
            "SpeakerVerifier",
            "verify",
            "compare",
            summary="Whether two files are of one speaker",
            help='Whether two files are of one speaker: a line of JSON, {"first", "second", "score", "same"}.',
            training="A verifier of speakers.",
        ),
        Task(
            "enhance",
            "enhancer",
            "SpeechEnhancer",
            "enhance",
            "convert",
            summary="Speech without its noise",
            help="Speech without its noise: a .wav file for each file.",
            training="An enhancer of noisy speech.",
        ),
        Task(
            "tts",
            "synthesizer",
            "TextToSpeech",
            "speak",
            "speak",
            summary="Text to speech",
            help="Text to speech: an audio file.",
            training="Text to speech, with the timing of a recogniser.",
            options=(
                Option("speaker", str, "One of the model's speakers; by default the model's own choice."),
                Option("reference", Path, "Speech in whose voice to speak."),
                Option("speed", float, "2 is twice as fast.", default=1.0, least=0.1, most=10),
            ),
        ),
    )
}
"""By their names."""
