"""`semtok segment`: a checkpoint of frames -> one of segments, units of variable length."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semtok.cli.options import LocalFilesOnly, Revision, load_tokenizer, load_vocoder


def segment(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Bundled name, folder, or hub id owner/name.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", file_okay=False, help="Folder for the new checkpoint.")
    ],
    layer: Annotated[
        int | None, typer.Option(help="Whose codes the segments have; the deepest by default.", show_default=False)
    ] = None,
    penalty: Annotated[
        float | None,
        typer.Option(help="Of each change of code, by the variance of the centroids: 0.2 or so.", show_default=False),
    ] = None,
    boundary_layer: Annotated[
        int | None,
        typer.Option(help="Instead: segments begin at peaks of the norm of this layer.", show_default=False),
    ] = None,
    prominence: Annotated[float, typer.Option(help="Of the peaks, in standard deviations of the norm.")] = 0.45,
    units: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead: a tokenizer of segments with a codebook of its own, as `semtok train kmeans` makes.",
            show_default=False,
        ),
    ] = None,
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """A tokenizer whose codes stay the same within segments, and the vocoder for it, in one folder.

    Give it as --checkpoint to every other command. Nothing is trained.
    """
    if sum(way is not None for way in (penalty, boundary_layer, units)) != 1:
        raise typer.BadParameter("give one of --penalty, --boundary-layer and --units")
    from semtok.codebooks.segmentation import Segmentation
    from semtok.errors import CheckpointError
    from semtok.segments import vocoder_of_segments

    tokenizer = load_tokenizer(
        checkpoint, layers=None, device="cpu", revision=revision, local_files_only=local_files_only
    )
    if units is not None:
        segments = load_tokenizer(units, layers=None, device="cpu", revision=None, local_files_only=local_files_only)
    else:
        segmentation = Segmentation(penalty=penalty, boundary_layer=boundary_layer, prominence=prominence)
        segments = tokenizer.segmented(tokenizer.layers[-1] if layer is None else layer, segmentation)
    try:
        vocoder = load_vocoder(checkpoint, device="cpu", revision=revision, local_files_only=local_files_only)
    except CheckpointError as error:
        typer.secho(f"without a vocoder: {error}", fg="yellow", err=True)
    else:
        vocoder_of_segments(vocoder, tokenizer, segments).save_pretrained(output)
    segments.save_pretrained(output)
    typer.echo(f"tokenizer {segments.fingerprint}, layer {segments.layers[0]}, to {output}")
