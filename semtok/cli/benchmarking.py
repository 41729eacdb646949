"""`semtok benchmark`: tokenizers side by side."""

from __future__ import annotations

import shlex
import sys
from functools import reduce
from pathlib import Path
from typing import Annotated

import typer

from semtok.cli.options import Alignments, Changes, JudgeOptions, OptionalSpeech, check_device, with_options
from semtok.errors import needs_extra


@with_options
def benchmark(
    judging: JudgeOptions,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Tokenizers: bundled names, folders or hub ids of semtok's checkpoints, as tiny or tiny:1,7 (layers), "
            "or of DAC, EnCodec, Mimi and X-codec, as kyutai/mimi or kyutai/mimi:8 (codebooks).",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="REPORT", help="Folder for the page.")],
    audio: OptionalSpeech = None,
    alignments: Alignments = None,
    tasks: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CONFIG",
            exists=True,
            dir_okay=False,
            help="Config of `semtok train` of a task, whose head is trained on each tokenizer; may be repeated.",
            show_default=False,
        ),
    ] = None,
    changes: Changes = None,
    suite: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Pairs of recordings, as of `semtok evaluate language`, for --language-model.",
            show_default=False,
        ),
    ] = None,
    language_models: Annotated[
        list[str] | None,
        typer.Option(
            "--language-model",
            metavar="MODEL",
            help="Folder or hub id of one on tokens of a NAME and its layers, for --suite; may be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """One page: bitrate, what comes back, what the tokens say of phones, how they keep in noise, and speed.

    All that is measured on --audio, the errors of models that learn --tasks from the tokens, and which recordings of a
    --suite language models of them find likelier: what is given, one of the three at least.
    Every figure has its interval by bootstrap over clips, and what was not measured its reason. A codec without a
    number of codebooks takes as many as come nearest to the bitrate of the first NAME. CSV and JSON lie beside it.
    """
    if audio is None and not tasks and suite is None:
        raise typer.BadParameter("give --audio, --tasks, --suite, or several of them", param_hint="--audio")
    if (suite is None) != (not language_models):
        raise typer.BadParameter("a suite and a language model need each other", param_hint="--suite")
    if audio is None and alignments is not None:
        raise typer.BadParameter("they are of the clips of --audio, which is not given", param_hint="--alignments")
    with needs_extra("eval"):
        from semtok.analysis.benchmark import Benchmark, open_subjects, run_benchmark, write_benchmark

        check_device(judging.device)
        subjects = open_subjects(names, device=judging.device, local_files_only=judging.local_files_only)
        results = []
        if suite is not None:
            from semtok.analysis.benchmark.language import run_suite
            from semtok.language.model import SpeechLanguageModel

            models = {
                name: SpeechLanguageModel.from_pretrained(
                    name, device=judging.device, local_files_only=judging.local_files_only
                )
                for name in language_models or []
            }
            results.append(run_suite(subjects, suite, models))
        if tasks:
            with needs_extra("train"):
                from semtok.analysis.benchmark.tasks import run_tasks

                results.append(run_tasks(subjects, tasks, output / "heads", changes=changes or []))
        if audio is not None:
            results.insert(0, run_benchmark(subjects, audio, alignments=alignments, judges=judging.load()))
        result = reduce(Benchmark.joined, results)
        page, *others = write_benchmark(result, output, command=shlex.join(["semtok", *sys.argv[1:]]))
    typer.echo(f"written: {page}, and beside it {', '.join(path.name for path in others)}")
