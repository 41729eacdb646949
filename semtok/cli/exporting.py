"""`semtok export`: a checkpoint in the formats of other engines."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from semtok.cli.groups import Commands, example
from semtok.cli.options import Layers, LocalFilesOnly, Revision, load_tokenizer, load_vocoder, parse_layers
from semtok.errors import CheckpointError, SemtokError

export_app = typer.Typer(cls=Commands, no_args_is_help=True, help="Write a checkpoint in the formats of other engines.")


@export_app.command(epilog=example("export onnx"))
def onnx(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Bundled name, folder, or hub id owner/name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder.")],
    layers: Layers = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A recording on which to compare onnxruntime with torch; may be repeated.",
            show_default=False,
        ),
    ] = None,
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Tokenizer and vocoder as ONNX files, which run without torch. Needs the extra semtok[onnx].

    DIR/tokenizer.onnx makes codes of a waveform, DIR/vocoder.onnx a waveform of codes; DIR/semtok.json says which
    layers, rows and rates. With --check the exit code is 1 if they disagree with torch by more than rounding.
    """
    chosen = parse_layers(layers)
    tokenizer = load_tokenizer(
        checkpoint, layers=None, device="cpu", revision=revision, local_files_only=local_files_only
    )
    vocoder = None
    with suppress(CheckpointError):  # a tokenizer alone
        vocoder = load_vocoder(checkpoint, device="cpu", revision=revision, local_files_only=local_files_only)
    from semtok.export import compare_onnx, export_onnx

    written = export_onnx(output, tokenizer, vocoder, layers=chosen)
    typer.echo(f"written: {', '.join(map(str, written))}")
    if check:
        comparison = compare_onnx(output, tokenizer, vocoder, check)
        typer.echo(
            f"{comparison.equal} of {comparison.codes} codes agree with torch, {comparison.ties} differ by a tie; "
            f"samples differ by {comparison.waveform_difference:.1e} at most"
        )
        if comparison.equal + comparison.ties < comparison.codes or comparison.waveform_difference > 1e-4:
            raise SemtokError(f"{output} disagrees with torch")


@export_app.command(epilog=example("export web"))
def web(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Bundled name, folder, or hub id owner/name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder.")],
    layers: Layers = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            exists=True,
            help="onnxruntime-web, as `npm pack` writes it, or a folder of it; by default npm fetches it.",
            show_default=False,
        ),
    ] = None,
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """A page whose models run in the browser: static files for any web server. Needs the extra semtok[onnx].

    Listen to it with: python -m http.server -d DIR
    """
    chosen = parse_layers(layers)
    options: dict[str, Any] = {"device": "cpu", "revision": revision, "local_files_only": local_files_only}
    tokenizer = load_tokenizer(checkpoint, layers=None, **options)
    vocoder = load_vocoder(checkpoint, **options)
    from semtok.export import export_web

    written = export_web(output, tokenizer, vocoder, layers=chosen, runtime=runtime)
    size = sum(path.stat().st_size for path in written) / 1e6
    typer.echo(f"written: {output}, {len(written)} files, {size:.1f} MB; listen: python -m http.server -d {output}")
