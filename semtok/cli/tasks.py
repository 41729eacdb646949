"""The commands of the tasks, `semtok transcribe`, `speak` ...: a form for each way to take files and give answers."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from semtok.audio.files import WRITTEN_SUFFIXES
from semtok.cli.files import STANDARD, Job, plan_from_audio, plan_to_print, readable, writable
from semtok.cli.options import (
    Device,
    Inputs,
    LocalFilesOnly,
    Model,
    Output,
    Revision,
    SkipExisting,
    check_device,
    set_parameters,
)
from semtok.cli.tokens import encode_jobs, needed_jobs
from semtok.downstream.bundled_models import default_model
from semtok.downstream.tasks import TASKS, Option, Task

if TYPE_CHECKING:
    from semtok.cli.progress import FileProgress
    from semtok.downstream.model import Speech


def task_commands() -> Iterator[tuple[Task, Callable[..., None], str]]:
    """Each task, its command, and the help of that: that of the task and of its form."""
    for task in TASKS.values():
        form = _FORMS[task.form]
        yield task, _bind(form, task), "\n\n".join(filter(None, [task.help, form.__doc__]))


def _bind(form: Callable[..., None], task: Task) -> Callable[..., None]:
    """The command of a task: a form, with the task for its first parameter and the task's options for `**own`."""

    def command(**values: Any) -> None:
        form(task, **values | {"model": values["model"] or default_model(task.name)})

    hints = get_type_hints(form, include_extras=True)
    _, *parameters, _ = inspect.signature(form).parameters.values()
    shared = [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
    set_parameters(command, [*shared, *map(_parameter, task.options)])
    return command


def _parameter(option: Option) -> inspect.Parameter:
    as_file: dict[str, Any] = {"metavar": "FILE", "exists": True, "dir_okay": False} if option.type is Path else {}
    described = typer.Option(help=option.help, min=option.least, max=option.most, **as_file)
    kind = option.type | None if option.default is None else option.type
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[kind, described]
    )


def _describe(
    task: Task,
    inputs: Inputs,
    model: Model = None,
    weights: Annotated[bool, typer.Option("--weights", help="Add the mean weight of each layer.")] = False,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    **own: Any,
) -> None:
    """Files that cannot be read are reported on stderr and left out; the exit code is then 1."""
    from semtok.cli.progress import file_progress

    loaded = _load(task, model, device, revision, local_files_only)
    plan = plan_to_print(inputs)
    with file_progress("listening", "listened to", plan, STANDARD) as progress:
        for job, speech, seconds in _inputs(iter(plan.jobs), loaded, progress):
            with progress.attempt(job.source):
                (answer,) = getattr(loaded, task.method)(speech, **own)
                line = {"path": str(job.source)} | _entries(answer)
                if weights:
                    means = loaded.layer_weights(speech)[0].mean(dim=1).tolist()
                    line["weights"] = dict(zip(map(str, loaded.layers), means, strict=True))
                _print(line)
                progress.succeed(seconds)


def _compare(
    task: Task,
    first: Annotated[Path, typer.Argument(metavar="FIRST", exists=True, dir_okay=False)],
    second: Annotated[Path, typer.Argument(metavar="SECOND", exists=True, dir_okay=False)],
    model: Model = None,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    **own: Any,
) -> None:
    loaded = _load(task, model, device, revision, local_files_only)
    (answer,) = getattr(loaded, task.method)(first, second, **own)
    _print({"first": str(first), "second": str(second)} | _entries(answer))


def _convert(
    task: Task,
    inputs: Inputs,
    output: Output,
    model: Model = None,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    skip_existing: SkipExisting = False,
    **own: Any,
) -> None:
    """Folders and broken files are treated as by `encode`."""
    from semtok.audio.io import save_audio
    from semtok.cli.progress import file_progress

    plan = plan_from_audio(inputs, output, written=WRITTEN_SUFFIXES)
    loaded = _load(task, model, device, revision, local_files_only)
    stem = task.method.removesuffix("e")
    with file_progress(f"{stem}ing", f"{stem}ed", plan, output) as progress:
        needed = needed_jobs(plan.jobs, skip_existing, progress)
        for job, speech, _ in _inputs(needed, loaded, progress):
            with progress.attempt(job.source):
                waveform = getattr(loaded, task.method)(speech, **own)[0]
                with writable(job.target, WRITTEN_SUFFIXES[0]) as path:
                    save_audio(path, waveform, sample_rate=loaded.vocoder.sample_rate)
                progress.succeed(len(waveform) / loaded.vocoder.sample_rate)


def _speak(
    task: Task,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say, or - for standard input.")],
    model: Model = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Audio file, or - for standard output.")
    ] = Path("speech.wav"),
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    **own: Any,
) -> None:
    from semtok.audio.io import save_audio

    loaded = _load(task, model, device, revision, local_files_only)
    waveform = getattr(loaded, task.method)(sys.stdin.read() if text == "-" else text, **own)[0]
    with writable(output, WRITTEN_SUFFIXES[0]) as path:
        save_audio(path, waveform, sample_rate=loaded.vocoder.sample_rate)
    typer.echo(f"{output}: {len(waveform) / loaded.vocoder.sample_rate:.1f} s", err=True)


_FORMS: dict[str, Callable[..., None]] = {
    "describe": _describe,
    "compare": _compare,
    "convert": _convert,
    "speak": _speak,
}


def _load(task: Task, name: str | None, device: str, revision: str | None, local_files_only: bool) -> Any:
    check_device(device)
    return task.model.from_pretrained(name, device=device, revision=revision, local_files_only=local_files_only)


def _inputs(jobs: Iterator[Job], model: Any, progress: FileProgress) -> Iterator[tuple[Job, Speech, float]]:
    """What a model takes of every file that can be read, its tokens or its audio, and its seconds."""
    if not model.takes_features:
        for job, tokens in encode_jobs(jobs, model.tokenizer, progress):
            yield job, tokens, float(tokens.durations)
        return
    from semtok.audio.io import load_audio

    for job in jobs:
        with progress.attempt(job.source), readable(job.source) as path:
            waveform = load_audio(path, sample_rate=model.sample_rate)
            yield job, waveform, len(waveform) / model.sample_rate


def _entries(answer: Any) -> dict[str, Any]:
    return {"text": answer} if isinstance(answer, str) else dataclasses.asdict(answer)


def _print(line: dict[str, Any]) -> None:
    typer.echo(json.dumps(line, ensure_ascii=False))
