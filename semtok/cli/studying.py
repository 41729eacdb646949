"""`semtok study`, `select` and `importance`: which layers, on one's own recordings."""

from __future__ import annotations

import shlex
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semtok.cli.options import (
    Device,
    Layers,
    LocalFilesOnly,
    Revision,
    check_device,
    load_tokenizer,
    load_vocoder,
    parse_layers,
)
from semtok.errors import CheckpointError, needs_extra

if TYPE_CHECKING:
    from semtok.analysis import Study
    from semtok.downstream import DownstreamModel

Checkpoint = Annotated[
    str,
    typer.Argument(metavar="CHECKPOINT", help="Tokenizer or encoder: bundled name, folder, or hub id owner/name."),
]
CodebookSize = Annotated[
    int, typer.Option(min=2, help="Of the k-means on each layer, where an encoder is studied.", metavar="K")
]
Normalize = Annotated[
    bool | None,
    typer.Option(
        "--normalize/--no-normalize",
        help="Whether an encoder takes input of zero mean and unit variance; by default its preprocessor_config.json "
        "says so.",
        show_default=False,
    ),
]
Audio = Annotated[
    Path, typer.Option(metavar="FOLDER", exists=True, help="Speech: a folder, or a manifest (csv, jsonl).")
]
Alignments = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help='JSON lines {"path", "phones": [[name, start, duration], ...]}, in seconds; "words" likewise.',
        show_default=False,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="COLUMN", help="A column of labels in the manifest; may be repeated.", show_default=False
    ),
]
Models = Annotated[list[str], typer.Argument(metavar="MODEL", help="Models of tasks: folders or hub ids.")]


def study(
    checkpoint: Checkpoint,
    audio: Audio,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="REPORT", help="Folder for the report.")],
    alignments: Alignments = None,
    labels: Labels = None,
    purposes: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="PURPOSE",
            help="Select layers for resynthesis, content, or a column of labels; may be repeated. By default for all.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="MODEL", help="A model of a task whose layer weights to show; may be repeated."
        ),
    ] = None,
    layers: Layers = None,
    codebook_size: CodebookSize = 500,
    normalize: Normalize = None,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """A report on the layers: what their tokens tell, cost and keep, and which to take for which purpose.

    Of a tokenizer its own codebooks are studied; of an encoder those of a k-means on each layer, fitted to the audio.

    Needs the extra semtok[study]. A study that was stopped goes on; one on the same inputs reuses what is there.
    """
    with needs_extra("study"):
        from semtok.analysis import write_report

        chosen = parse_layers(layers)
        loaded = _load_study(
            checkpoint,
            audio,
            output,
            alignments,
            labels,
            device,
            revision,
            local_files_only,
            layers=chosen,
            codebook_size=codebook_size,
            normalize=normalize,
        )
        command = shlex.join(["semtok", *sys.argv[1:]])
        page, *others = write_report(
            loaded,
            checkpoint=checkpoint,
            command=command,
            purposes=purposes,
            models=_load_models(models or [], local_files_only),
        )
    typer.echo(f"written: {page}, and beside it {', '.join(path.name for path in others)}")


def select(
    checkpoint: Checkpoint,
    audio: Audio,
    purpose: Annotated[
        str, typer.Option("--for", metavar="PURPOSE", help="resynthesis, content, or a column of labels.")
    ],
    count: Annotated[
        int | None,
        typer.Option("--layers", "-l", min=1, help="How many layers; by default as many as pay.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="REPORT", help="Folder of a study, to reuse it.", show_default=False),
    ] = None,
    alignments: Alignments = None,
    codebook_size: CodebookSize = 500,
    normalize: Normalize = None,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """The best layers for a purpose, and why."""
    with needs_extra("study"), tempfile.TemporaryDirectory() as temporary:
        from semtok.analysis import recommend

        labels = None if purpose in ("resynthesis", "content") else [purpose]
        folder = output or Path(temporary)
        loaded = _load_study(
            checkpoint,
            audio,
            folder,
            alignments,
            labels,
            device,
            revision,
            local_files_only,
            codebook_size=codebook_size,
            normalize=normalize,
        )
        table = loaded.selection(purpose)
        if count is not None and not table.of(count=count):
            raise typer.BadParameter(f"at most {len(table.rows)} layers can be selected", param_hint="--layers")
        typer.echo(recommend(table, purpose, count=count))


def importance(models: Models, local_files_only: LocalFilesOnly = False) -> None:
    """The mean weight that models of tasks give each layer."""
    from semtok.analysis import importance as table_of

    table = table_of(_load_models(models, local_files_only))
    for row in table.rows:
        typer.echo(f"{row['model']}\t{row['task']}\tlayer {row['layer']}\t{row['weight']:.3f}")
    for note in table.notes:
        typer.echo(note, err=True)


def _load_study(
    checkpoint: str,
    audio: Path,
    folder: Path,
    alignments: Path | None,
    labels: list[str] | None,
    device: str,
    revision: str | None,
    local_files_only: bool,
    *,
    layers: tuple[int, ...] | None = None,
    codebook_size: int = 500,
    normalize: bool | None = None,
) -> Study:
    from semtok.analysis import Study, fit_tokenizer, is_encoder, study_cache
    from semtok.checkpoints.hub import resolve

    source, vocoder = resolve(checkpoint, revision=revision, local_files_only=local_files_only), None
    if is_encoder(source):
        check_device(device)
        tokenizer = fit_tokenizer(
            source,
            audio,
            study_cache(folder),
            codebook_size=codebook_size,
            layers=layers,
            normalize=normalize,
            device=device,
        )
    else:
        tokenizer = load_tokenizer(
            checkpoint, layers=layers, device=device, revision=revision, local_files_only=local_files_only
        )
        # without one the report says that resynthesis is left out
        with suppress(CheckpointError):
            vocoder = load_vocoder(checkpoint, device=device, revision=revision, local_files_only=local_files_only)
    return Study(tokenizer, audio, folder, alignments=alignments, columns=labels or [], vocoder=vocoder)


def _load_models(names: list[str], local_files_only: bool) -> dict[str, DownstreamModel]:
    from semtok.downstream import DownstreamModel

    return {name: DownstreamModel.from_pretrained(name, local_files_only=local_files_only) for name in names}
