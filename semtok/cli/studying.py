"""`semtok study`, `select` and `importance`: which layers, on one's own recordings."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtok.cli.options import (
    Alignments,
    AsJson,
    Device,
    Layers,
    LocalFilesOnly,
    Revision,
    Speech,
    check_device,
    load_tokenizer,
    load_vocoder,
    parse_layers,
    with_options,
)
from semtok.codebooks.layers import Layer
from semtok.errors import CheckpointError, needs_extra

if TYPE_CHECKING:
    from semtok.analysis import Study
    from semtok.downstream import DownstreamModel

Models = Annotated[list[str], typer.Argument(metavar="MODEL", help="Models of tasks: folders or hub ids.")]
_CODEBOOK_SIZE = 500


@dataclass(frozen=True)
class Subject:
    """What is studied, on what and where: the options of `study` and of `select`."""

    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Tokenizer or encoder: bundled name, folder, or hub id owner/name."),
    ]
    audio: Speech
    alignments: Alignments = None
    codebook_sizes: Annotated[
        str | None,
        typer.Option(
            "--codebook-size",
            "-k",
            metavar="100,500,1000",
            help="Where an encoder is studied, of the k-means on each layer: one size or several to compare. "
            f"[default: {_CODEBOOK_SIZE}]",
            show_default=False,
        ),
    ] = None
    normalize: Annotated[
        bool | None,
        typer.Option(
            "--normalize/--no-normalize",
            help="Whether an encoder takes input of zero mean and unit variance; by default its "
            "preprocessor_config.json says so.",
            show_default=False,
        ),
    ] = None
    device: Device = "cpu"
    revision: Revision = None
    local_files_only: LocalFilesOnly = False

    def studies(
        self, folder: Path, columns: list[str] | None = None, layers: tuple[Layer, ...] | None = None
    ) -> list[Study]:
        """One, or of an encoder one for each codebook size; `columns` and `folder` as `Study` takes them."""
        from semtok.analysis import Study, fit_tokenizers, is_encoder, study_cache
        from semtok.checkpoints.hub import resolve

        source = resolve(self.checkpoint, revision=self.revision, local_files_only=self.local_files_only)
        sizes = _parse_sizes(self.codebook_sizes)
        vocoder = None
        if is_encoder(source):
            check_device(self.device)
            tokenizers = fit_tokenizers(
                source,
                self.audio,
                study_cache(folder),
                codebook_sizes=sizes or [_CODEBOOK_SIZE],
                layers=layers,
                normalize=self.normalize,
                device=self.device,
            )
        elif sizes:
            raise typer.BadParameter(
                f"{self.checkpoint} has codebooks; only an encoder takes others", param_hint="--codebook-size"
            )
        else:
            local = self.local_files_only
            where: dict[str, Any] = {"device": self.device, "revision": self.revision, "local_files_only": local}
            tokenizers = [load_tokenizer(self.checkpoint, layers=layers, **where)]
            # without one the report says that resynthesis is left out
            with suppress(CheckpointError):
                vocoder = load_vocoder(self.checkpoint, **where)
        return [
            Study(tokenizer, self.audio, folder, alignments=self.alignments, columns=columns or [], vocoder=vocoder)
            for tokenizer in tokenizers
        ]


@with_options
def study(
    subject: Subject,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="REPORT", help="Folder for the report.")],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="COLUMN", help="A column of labels in the manifest; may be repeated.", show_default=False
        ),
    ] = None,
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
    as_json: AsJson = False,
) -> None:
    """A report on the layers: what their tokens tell, cost and keep, and which to take for which purpose.

    Of a tokenizer its own codebooks are studied; of an encoder those of a k-means on each layer, fitted to the audio.

    Needs the extra semtok[study]. A study that was stopped goes on; one on the same inputs reuses what is there.
    """
    with needs_extra("study"):
        from semtok.analysis import write_report

        page, *others = write_report(
            subject.studies(output, labels, parse_layers(layers)),
            checkpoint=subject.checkpoint,
            command=shlex.join(["semtok", *sys.argv[1:]]),
            purposes=purposes,
            models=_load_models(models or [], subject.local_files_only),
        )
    if as_json:
        typer.echo(page.with_suffix(".json").read_text(encoding="utf-8"))
    else:
        typer.echo(f"written: {page}, and beside it {', '.join(path.name for path in others)}")


@with_options
def select(
    subject: Subject,
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
) -> None:
    """The best layers for a purpose, and why."""
    with needs_extra("study"), tempfile.TemporaryDirectory() as temporary:
        from semtok.analysis import compare, recommend

        labels = None if purpose in ("resynthesis", "content") else [purpose]
        studies = subject.studies(output or Path(temporary), labels)
        tables = {study.tokenizer.codebook_sizes[0]: study.selection(purpose) for study in studies}
        table = compare(tables) if len(tables) > 1 else next(iter(tables.values()))
        if count is not None and not table.of(count=count):
            most = max(row["count"] for row in table.rows)
            raise typer.BadParameter(f"at most {most} layers can be selected", param_hint="--layers")
        typer.echo(recommend(table, purpose, count=count))


def importance(models: Models, local_files_only: LocalFilesOnly = False, as_json: AsJson = False) -> None:
    """The mean weight that models of tasks give each layer."""
    from semtok.analysis import importance as table_of

    table = table_of(_load_models(models, local_files_only))
    if as_json:
        typer.echo(json.dumps(table.rows, indent=2))
        return
    for row in table.rows:
        typer.echo(f"{row['model']}\t{row['task']}\tlayer {row['layer']}\t{row['weight']:.3f}")
    for note in table.notes:
        typer.echo(note, err=True)


def _parse_sizes(text: str | None) -> list[int]:
    """ "100,500" -> [100, 500], and none of None."""
    try:
        sizes = [] if text is None else [int(size) for size in text.split(",")]
    except ValueError:
        sizes = [0]
    if any(size < 2 for size in sizes) or len(set(sizes)) < len(sizes):
        raise typer.BadParameter(
            f"expected different sizes from 2 on, such as 100,500,1000, got {text!r}", param_hint="--codebook-size"
        )
    return sizes


def _load_models(names: list[str], local_files_only: bool) -> dict[str, DownstreamModel]:
    from semtok.downstream import DownstreamModel

    return {name: DownstreamModel.from_pretrained(name, local_files_only=local_files_only) for name in names}
