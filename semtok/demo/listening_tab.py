"""The first tab: record, upload or take an example, tick layers, hear what they keep and see why."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from semtok.audio.io import save_audio
from semtok.codebooks.layers import Layer, in_order
from semtok.demo.events import HEAVY, QUIET, check_recording, new_folder, recording, report_errors
from semtok.demo.listening import decoded_rows, excerpt, keep_stages, layer_weights, margins, read_part, row_bits
from semtok.demo.models import Checkpoint, Shelf
from semtok.demo.pictures import (
    draw_codes,
    draw_margins,
    draw_spectrograms,
    draw_weights,
    side_by_side,
    table_of_bits,
)
from semtok.errors import SemtokError
from semtok.tokens import Tokens

_NOTHING = '<p role="status">Nothing is decoded yet.</p>'
_SHOWN_SECONDS = 10
# Browsers load a whole WAV before they play it.
_LONG_SECONDS = 300


@dataclass(frozen=True)
class Decoding:
    """What a visitor heard last.

    Args:
        checkpoint: its name.
        audio: the recording.
        tokens: of all layers, on the CPU.
        layers, stages: those that were decoded.
        decoded: speech decoded from them; None without a vocoder.
    """

    checkpoint: str
    audio: Path
    tokens: Tokens
    layers: tuple[Layer, ...]
    stages: int
    decoded: Path | None


def listening_tab(shelf: Shelf, checkpoints: Sequence[str], *, any_name: bool) -> None:
    """Adds the tab's parts to the page that is being built."""
    first = shelf.checkpoint(checkpoints[0])
    latest = gr.State(None, time_to_live=3600)
    name = gr.Dropdown(
        list(checkpoints),
        value=checkpoints[0],
        allow_custom_value=any_name,
        label="Checkpoint",
        info="A bundled name, a folder, or a hub id owner/name" if any_name else None,
    )
    with gr.Row():
        with gr.Column():
            audio = recording("Original", "*voice.flac")
            layers = gr.CheckboxGroup(**_layer_choices(first), label="Layers to decode")
            stages = gr.Slider(**_stage_choices(first), step=1, label="Residual stages of a layer, at most")
            button = gr.Button("Encode and decode", variant="primary")
            with gr.Accordion("Another voice", open=False, visible=first.takes_voice) as other:
                voice = recording("Speech in whose voice to decode", "*voice.flac")
        with gr.Column():
            decoded = gr.Audio(label="Decoded", interactive=False, buttons=["download"], elem_id="decoded")
            summary = gr.HTML(_NOTHING, elem_id="summary")
    start = gr.Slider(0, 1, 0, step=1, label="Pictures from second", visible=False)
    pictures = gr.HTML(elem_id="pictures")

    inputs = [name, audio, layers, stages, voice, latest]
    results = [latest, decoded, summary, start]

    def hear(*values: Any) -> tuple[Any, ...]:
        return _hear(shelf, *values)

    def hear_again(*values: Any) -> Any:
        return _hear(shelf, *values) if values[-1] is not None else gr.skip()

    def show(latest: Decoding | None, second: float) -> str:
        return "" if latest is None else _show(shelf.checkpoint(latest.checkpoint), latest, second)

    def choose(chosen: str) -> tuple[Any, ...]:
        checkpoint = shelf.checkpoint(chosen)
        return (
            gr.CheckboxGroup(**_layer_choices(checkpoint)),
            gr.Slider(**_stage_choices(checkpoint)),
            gr.Accordion(visible=checkpoint.takes_voice),
        )

    gr.on([audio.change, name.change], _forget, [name, audio, latest], [*results, pictures], **QUIET)
    name.change(report_errors(choose), name, [layers, stages, other], **HEAVY)
    asked = button.click(report_errors(hear), inputs, results, **HEAVY)
    ticked = gr.on(
        [layers.input, stages.release], report_errors(hear_again), inputs, results, trigger_mode="always_last", **HEAVY
    )
    for event in (asked.success, ticked.success, start.release):
        event(report_errors(show), [latest, start], pictures, **HEAVY)


def _layer_choices(checkpoint: Checkpoint) -> dict[str, Any]:
    tokenizer = checkpoint.tokenizer
    choices = [
        (str(layer) if len(sizes) == 1 else f"{layer} ({len(sizes)} stages)", layer)
        for layer, sizes in tokenizer.codebooks.items()
    ]
    return {"choices": choices, "value": list(tokenizer.layers)}


def _stage_choices(checkpoint: Checkpoint) -> dict[str, Any]:
    most = max(checkpoint.tokenizer.codebooks.stages)
    return {"minimum": 1, "maximum": max(2, most), "value": most, "visible": most > 1}


def _forget(name: str, audio: str | None, latest: Decoding | None) -> Any:
    # a browser may tell of a new recording after its visitor has already heard it
    if latest is not None and (latest.checkpoint, str(latest.audio)) == (name, audio):
        return gr.skip()
    return None, gr.Audio(None, label="Decoded"), _NOTHING, gr.Slider(visible=False), ""


def _hear(
    shelf: Shelf,
    name: str,
    audio: str | None,
    layers: Sequence[Layer],
    stages: int,
    voice: str | None,
    before: Decoding | None,
) -> tuple[Any, ...]:
    """Encodes the recording, or takes its tokens from before, and decodes what is ticked."""
    path = check_recording(audio)
    if not layers:
        raise SemtokError("no layer is ticked: tick one at least")
    checkpoint, chosen = shelf.checkpoint(name), in_order(layers)
    known = before is not None and (before.checkpoint, before.audio) == (name, path)
    tokens = before.tokens if before is not None and known else checkpoint.tokenizer.encode(path).to("cpu")
    decoded = _decode(checkpoint, tokens, chosen, stages, voice)
    latest = Decoding(name, path, tokens, chosen, stages, decoded)
    seconds = float(tokens.durations)
    bits = row_bits(tokens, chosen, stages)
    rates = [(row.plain, row.coded) for row in bits if row.is_decoded]
    plain, coded = (sum(values) for values in zip(*rates, strict=True))
    which = f"layer{'s' * (len(chosen) > 1)} {', '.join(map(str, chosen))}"
    summary = f"{seconds:.1f} s, {which}: {plain:.0f} bit/s, {coded:.0f} entropy coded. {checkpoint.silent}"
    return (
        latest,
        gr.Audio(None if decoded is None else str(decoded), label=f"Decoded from {which}"),
        f'<p role="status">{html.escape(summary)}</p>{table_of_bits(bits)}',
        gr.Slider(0, max(1, int(seconds) - _SHOWN_SECONDS), 0, visible=seconds > _SHOWN_SECONDS),
    )


def _decode(
    checkpoint: Checkpoint, tokens: Tokens, layers: Sequence[Layer], stages: int, voice: str | None
) -> Path | None:
    """A file of speech among those that gradio serves and deletes."""
    if checkpoint.vocoder is None:
        return None
    speaker = (
        checkpoint.vocoder.speaker(check_recording(voice))[0] if voice is not None and checkpoint.takes_voice else None
    )
    vocoder = keep_stages(checkpoint.vocoder, stages)
    waveform = vocoder.decode(tokens, layers=layers, speaker=speaker)[0]
    suffix = ".wav" if len(waveform) < _LONG_SECONDS * vocoder.sample_rate else ".mp3"
    path = new_folder() / f"decoded{suffix}"
    save_audio(path, waveform, sample_rate=vocoder.sample_rate)
    return path


def _show(checkpoint: Checkpoint, latest: Decoding, second: float) -> str:
    """Pictures of an excerpt of what was decoded last."""
    tokens, layers, vocoder = latest.tokens, latest.layers, checkpoint.vocoder
    part = excerpt(tokens, second, _SHOWN_SECONDS)
    rows, frames = decoded_rows(tokens, layers, latest.stages), int(tokens.lengths)
    rate = checkpoint.tokenizer.sample_rate if vocoder is None else vocoder.sample_rate
    files = {"original": latest.audio} | ({} if latest.decoded is None else {"decoded": latest.decoded})
    first, last = part.seconds
    waveforms = {
        title: read_part(path, rate, first, None if part.stop == frames else last) for title, path in files.items()
    }
    parts = [draw_spectrograms(waveforms, rate, part), draw_codes(tokens, part, rows)]
    if vocoder is not None:
        shown = tokens.cut(part.start, part.stop)
        weights = layer_weights(keep_stages(vocoder, latest.stages), shown, layers)
        parts.append(draw_weights(weights, layers, part, "the vocoder"))
    parts.append(draw_margins(margins(checkpoint.tokenizer, latest.audio, part, frames), tokens.names, part, rows))
    return side_by_side(*parts)
