"""`semtok continue`: a language model goes on from where a recording stops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semtok.audio.files import WRITTEN_SUFFIXES
from semtok.cli.files import plan_from_audio, readable, writable
from semtok.cli.options import Device, LocalFilesOnly, Model, Revision, check_device
from semtok.downstream.bundled_models import default_model


def continue_speech(
    prompt: Annotated[Path, typer.Argument(metavar="IN", help="Speech to go on from, or - for standard input.")],
    model: Model = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How much to add.")] = 4.0,
    prompt_seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="Go on from so many seconds of the speech; from its end by default."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Audio file, or - for standard output.")
    ] = Path("continued.wav"),
    temperature: Annotated[float, typer.Option(min=0.01, help="Below 1 keeps to what is likely.")] = 0.8,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Draw among so many of the likeliest codes; all by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another one, another continuation.")] = 0,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Speech, and what a language model says next: both decoded from tokens, into one audio file."""
    name = model or default_model("language")
    from semtok.audio.io import save_audio
    from semtok.language.model import SpeechLanguageModel

    check_device(device)
    (job,) = plan_from_audio([prompt], output, written=WRITTEN_SUFFIXES).jobs
    loaded = SpeechLanguageModel.from_pretrained(
        name, revision=revision, local_files_only=local_files_only, device=device
    )
    with readable(job.source) as path:
        waveform = loaded.continue_speech(
            path, seconds, prompt_seconds=prompt_seconds, temperature=temperature, top_k=top_k, seed=seed
        )[0]
    with writable(job.target, WRITTEN_SUFFIXES[0]) as path:
        save_audio(path, waveform, sample_rate=loaded.vocoder.sample_rate)
    total = len(waveform) / loaded.vocoder.sample_rate
    typer.echo(f"{job.target}: {total - seconds:.1f} s of prompt and {seconds:.1f} s more", err=True)
