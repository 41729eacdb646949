"""`semtok benchmark`: tokenizers side by side."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from semtok.cli.options import JudgeOptions, Speech, check_device, with_options
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
    audio: Speech,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="REPORT", help="Folder for the page.")],
    alignments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help='JSON lines {"path", "phones": [[name, start, duration], ...]}, in seconds, for PNMI and ABX.',
            show_default=False,
        ),
    ] = None,
) -> None:
    """One page: bitrate, what comes back, what the tokens say of phones, how they keep in noise, and speed.

    Every figure has its interval by bootstrap over clips, and what was not measured its reason. A codec without a
    number of codebooks takes as many as come nearest to the bitrate of the first NAME. CSV and JSON lie beside it.
    """
    with needs_extra("eval"):
        from semtok.analysis.benchmark import open_subjects, run_benchmark, write_benchmark

        check_device(judging.device)
        subjects = open_subjects(names, device=judging.device, local_files_only=judging.local_files_only)
        result = run_benchmark(subjects, audio, alignments=alignments, judges=judging.load())
        page, *others = write_benchmark(result, output, command=shlex.join(["semtok", *sys.argv[1:]]))
    typer.echo(f"written: {page}, and beside it {', '.join(path.name for path in others)}")
