"""`semtok transcribe`, `classify`, `verify`, `enhance` and `speak`: the models of tasks on files and folders."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtok.audio.files import WRITTEN_SUFFIXES
from semtok.cli.files import STANDARD, plan_from_audio, plan_to_print, writable
from semtok.cli.options import Device, Inputs, LocalFilesOnly, Output, Revision, SkipExisting, check_device
from semtok.cli.tokens import encode_jobs, needed_jobs

if TYPE_CHECKING:
    from semtok.downstream import DownstreamModel
    from semtok.tokens import Tokens

Weights = Annotated[bool, typer.Option("--weights", help="Add the mean weight of each layer.")]


def _model(default: str | None) -> Any:
    return typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Bundled name, folder, or hub id owner/name.",
        show_default=default is not None,
    )


def transcribe(
    inputs: Inputs,
    model: Annotated[str, _model(None)],
    beam: Annotated[
        int | None, typer.Option(min=1, help="Prefixes of a beam search; by default the likeliest path alone.")
    ] = None,
    weights: Weights = False,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """What is said: a line of JSON for each file, {"path", "text"}.

    Files that cannot be read are reported on stderr and left out; the exit code is then 1.
    """
    from semtok.downstream import SpeechRecognizer

    loaded = _load(SpeechRecognizer, model, device, revision, local_files_only)
    _print_each(inputs, loaded, lambda tokens: {"text": loaded.transcribe(tokens, beam=beam)[0]}, weights=weights)


def classify(
    inputs: Inputs,
    model: Annotated[str, _model(None)],
    weights: Weights = False,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """The class of each file: a line of JSON, {"path", "label", "probabilities"}."""
    from semtok.downstream import UtteranceClassifier

    loaded = _load(UtteranceClassifier, model, device, revision, local_files_only)

    def answer(tokens: Tokens) -> dict[str, Any]:
        (classification,) = loaded.classify(tokens)
        return {"label": classification.label, "probabilities": classification.probabilities}

    _print_each(inputs, loaded, answer, weights=weights)


def verify(
    first: Annotated[Path, typer.Argument(metavar="FIRST", exists=True, dir_okay=False)],
    second: Annotated[Path, typer.Argument(metavar="SECOND", exists=True, dir_okay=False)],
    model: Annotated[str, _model(None)],
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Whether two files are of one speaker: a line of JSON, {"first", "second", "score", "same"}."""
    from semtok.downstream import SpeakerVerifier

    loaded = _load(SpeakerVerifier, model, device, revision, local_files_only)
    (answer,) = loaded.verify(first, second)
    _print({"first": str(first), "second": str(second), "score": answer.score, "same": answer.same})


def enhance(
    inputs: Inputs,
    output: Output,
    model: Annotated[str, _model(None)],
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    skip_existing: SkipExisting = False,
) -> None:
    """Speech without its noise: a .wav file for each file. Folders and broken files are treated as by `encode`."""
    from semtok.audio.io import save_audio
    from semtok.cli.progress import file_progress
    from semtok.downstream import SpeechEnhancer

    plan = plan_from_audio(inputs, output, written=WRITTEN_SUFFIXES)
    loaded = _load(SpeechEnhancer, model, device, revision, local_files_only)
    with file_progress("enhancing", "enhanced", plan, output) as progress:
        needed = needed_jobs(plan.jobs, skip_existing, progress)
        for job, tokens in encode_jobs(needed, loaded.tokenizer, progress):
            with progress.attempt(job.source):
                waveform = loaded.enhance(tokens)[0]
                with writable(job.target, WRITTEN_SUFFIXES[0]) as path:
                    save_audio(path, waveform, sample_rate=loaded.sample_rate)
                progress.succeed(len(waveform) / loaded.sample_rate)


def speak(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say, or - for standard input.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Audio file, or - for standard output.")
    ] = Path("speech.wav"),
    model: Annotated[str, _model("tiny-tts")] = "tiny-tts",
    speaker: Annotated[str | None, typer.Option(help="One of the model's speakers; the first by default.")] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Speech in whose voice to speak.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=10, help="2 is twice as fast.")] = 1.0,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Text to speech: an audio file."""
    from semtok.audio.io import save_audio
    from semtok.downstream import TextToSpeech

    loaded = _load(TextToSpeech, model, device, revision, local_files_only)
    said = sys.stdin.read() if text == "-" else text
    waveform = loaded.speak(said, speaker=speaker, reference=reference, speed=speed)[0]
    with writable(output, WRITTEN_SUFFIXES[0]) as path:
        save_audio(path, waveform, sample_rate=loaded.sample_rate)
    typer.echo(f"{output}: {len(waveform) / loaded.sample_rate:.1f} s", err=True)


def _load(kind: Any, name: str, device: str, revision: str | None, local_files_only: bool) -> Any:
    check_device(device)
    return kind.from_pretrained(name, device=device, revision=revision, local_files_only=local_files_only)


def _print_each(
    inputs: Sequence[Path], model: DownstreamModel, answer: Callable[[Tokens], dict[str, Any]], *, weights: bool
) -> None:
    """A line of JSON for each file, as they are done."""
    from semtok.cli.progress import file_progress

    plan = plan_to_print(inputs)
    with file_progress("listening", "listened to", plan, STANDARD) as progress:
        for job, tokens in encode_jobs(iter(plan.jobs), model.tokenizer, progress):
            line = {"path": str(job.source)} | answer(tokens)
            if weights:
                means = model.layer_weights(tokens)[0].mean(dim=1).tolist()
                line["weights"] = dict(zip(map(str, model.layers), means, strict=True))
            _print(line)
            progress.succeed(float(tokens.durations))


def _print(line: dict[str, Any]) -> None:
    typer.echo(json.dumps(line, ensure_ascii=False))
