"""The tabs of the models of tasks: transcribe, enhance, speak."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import gradio as gr

from semtok.audio.io import save_audio
from semtok.demo.events import HEAVY, MOST_CHARACTERS, check_recording, check_text, new_folder, recording, report_errors
from semtok.demo.listening import excerpt, layer_weights
from semtok.demo.models import Shelf
from semtok.demo.pictures import draw_weights, side_by_side
from semtok.downstream import TASKS, DownstreamModel, SpeechEnhancer, SpeechRecognizer, TextToSpeech
from semtok.downstream.bundled_models import bundled_of
from semtok.downstream.enhancer import TokenGenerator
from semtok.downstream.model import Speech
from semtok.errors import SemtokError
from semtok.tokens import Tokens

Model = TypeVar("Model", bound=DownstreamModel)

_SHOWN_SECONDS = 10
_SENTENCE = "Low layers keep how it sounds, high layers what is said."


def task_tabs(shelf: Shelf, models: Sequence[str], *, any_name: bool) -> None:
    """Adds a tab a task to the page that is being built, for the models that are there and those that may be named.

    Args:
        shelf: where models come from.
        models: names of models, of any task.
        any_name: whether visitors may name others.
    """
    tasks = {name: shelf.model(DownstreamModel, name).task for name in models}  # type: ignore[type-abstract]
    for kind, build in ((SpeechRecognizer, _transcribe), (SpeechEnhancer, _enhance), (TextToSpeech, _speak)):
        with gr.Tab(TASKS[kind.task].method.capitalize()):
            names = [name for name in models if tasks[name] == kind.task]
            build(shelf, _choose_model(kind, names, any_name))


def _choose_model(kind: type[DownstreamModel], names: list[str], any_name: bool) -> gr.Dropdown:
    """The choice of a model, under a note if the one that should come with semtok is not there."""
    bundled = bundled_of(kind.task)
    names = names + [model.name for model in bundled if model.is_there]
    if not names:
        where = "below" if any_name else "as the page starts, `--model NAME`"
        gr.Markdown(
            f"**No model for this is here:** `{bundled[0].name}` does not come with this version of semtok. "
            f"{bundled[0].instead.capitalize()}, {where}."
        )
    return gr.Dropdown(
        names,
        value=names[0] if names else None,
        allow_custom_value=any_name,
        label="Model",
        info="A bundled name, a folder, or a hub id owner/name" if any_name else None,
    )


def _transcribe(shelf: Shelf, name: gr.Dropdown) -> None:
    audio = recording("Speech", "*voice.flac")
    button = gr.Button("Transcribe", variant="primary")
    text = gr.Textbox(label="Text", lines=2, interactive=False)
    weights = gr.HTML()

    def transcribe(chosen: str | None, path: str | None) -> tuple[str, str]:
        model = _load(shelf, SpeechRecognizer, chosen)
        speech, pictures = _input(model, check_recording(path))
        return model.transcribe(speech)[0], side_by_side(*pictures)

    button.click(report_errors(transcribe), [name, audio], [text, weights], **HEAVY)


def _enhance(shelf: Shelf, name: gr.Dropdown) -> None:
    audio = recording("Noisy speech", "noisy.ogg")
    button = gr.Button("Enhance", variant="primary")
    enhanced = gr.Audio(label="Enhanced", interactive=False, buttons=["download"])
    weights = gr.HTML()

    def enhance(chosen: str | None, path: str | None) -> tuple[str, str]:
        model = _load(shelf, SpeechEnhancer, chosen)
        speech, pictures = _input(model, check_recording(path))
        clean = model.enhance_tokens(speech)
        return _save(model, clean), side_by_side(*pictures, _output_picture(model, clean))

    button.click(report_errors(enhance), [name, audio], [enhanced, weights], **HEAVY)


def _speak(shelf: Shelf, name: gr.Dropdown) -> None:
    text = gr.Textbox(_SENTENCE, label="Text to speak", lines=3, max_length=MOST_CHARACTERS)
    speakers = _speakers(shelf, name.value)
    speaker = gr.Dropdown(speakers, value=speakers[0] if speakers else None, label="Speaker of the model")
    reference = recording("Or speech in whose voice to speak, optional", "*voice.flac")
    button = gr.Button("Speak", variant="primary")
    spoken = gr.Audio(label="Spoken", interactive=False, buttons=["download"])
    weights = gr.HTML()

    def list_speakers(chosen: str | None) -> gr.Dropdown:
        known = _speakers(shelf, chosen)
        return gr.Dropdown(known, value=known[0] if known else None)

    def speak(chosen: str | None, what: str, voice: str | None, path: str | None) -> tuple[str, str]:
        model = _load(shelf, TextToSpeech, chosen)
        if path is None:
            tokens = model.speak_tokens(check_text(what), speaker=voice)
        else:
            tokens = model.speak_tokens(check_text(what), reference=check_recording(path))
        return _save(model, tokens), side_by_side(_output_picture(model, tokens))

    name.change(report_errors(list_speakers), name, speaker, **HEAVY)
    button.click(report_errors(speak), [name, text, speaker, reference], [spoken, weights], **HEAVY)


def _speakers(shelf: Shelf, name: str | None) -> list[str]:
    return list(shelf.model(TextToSpeech, name).speakers) if name else []


def _load(shelf: Shelf, kind: type[Model], name: str | None) -> Model:
    if not name:
        raise SemtokError("no model is named: name a folder or a hub id of one")
    return shelf.model(kind, name)


def _save(model: TokenGenerator, tokens: Tokens) -> str:
    path = new_folder() / "speech.wav"
    save_audio(path, model.vocoder.decode(tokens)[0], sample_rate=model.vocoder.sample_rate)
    return str(path)


def _input(model: DownstreamModel, path: Path) -> tuple[Speech, list[str]]:
    """What the model takes of a recording; and, if these are tokens, a picture of what it takes from which layer."""
    if model.takes_features:
        return path, []
    tokens = model.tokenizer.encode(path)
    part = excerpt(tokens, 0, _SHOWN_SECONDS)
    weights = model.layer_weights(tokens.cut(part.start, part.stop))[0].cpu()
    return tokens, [draw_weights(weights, model.layers, part, "the model")]


def _output_picture(model: TokenGenerator, tokens: Tokens) -> str:
    """What the vocoder takes from which layer of the tokens that a model made."""
    part = excerpt(tokens, 0, _SHOWN_SECONDS)
    weights = layer_weights(model.vocoder, tokens.cut(part.start, part.stop), tokens.layers)
    return draw_weights(weights, tokens.layers, part, "the vocoder")
