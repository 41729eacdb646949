"""`semtok import`: other people's codebooks and vocoders to semtok's own format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semtok.cli.groups import Commands, example
from semtok.cli.options import Layers, Revision, parse_layers

if TYPE_CHECKING:
    from semtok.checkpoints.config import TokenizerConfig
    from semtok.networks.config import VocoderConfig

import_app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Import other people's codebooks and vocoders. Nothing that their files say is executed.",
)
Folder = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", file_okay=False, help="Folder for the checkpoint.")
]


@import_app.command("speechbrain", epilog=example("import speechbrain"))
def import_speechbrain(
    name: Annotated[str, typer.Argument(metavar="ID_OR_FOLDER", help="Hub id, see `semtok models`, or a folder.")],
    output: Folder,
    encoder: Annotated[
        str | None, typer.Option(metavar="ID_OR_FOLDER", help="Another encoder than the known one.", show_default=False)
    ] = None,
    layers: Layers = None,
    dataset: Annotated[
        str | None, typer.Option(help="Whose codebooks, where there are several.", show_default=False)
    ] = None,
    num_clusters: Annotated[
        int | None, typer.Option(help="Which size of codebooks, where there are several.", show_default=False)
    ] = None,
    revision: Revision = None,
) -> None:
    """A tokenizer, a vocoder or both, whichever a repository of SpeechBrain's has."""
    chosen = parse_layers(layers)
    from semtok.checkpoints.importing import import_speechbrain

    saved = import_speechbrain(
        name,
        output,
        layers=chosen,
        revision=revision,
        encoder=encoder,
        dataset=dataset,
        num_clusters=num_clusters,
    )
    _report(output, saved.tokenizer, saved.vocoder)


@import_app.command("kmeans", epilog=example("import kmeans"))
def import_kmeans(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="k-means of scikit-learn (by joblib or pickle), .npy, .npz, flat faiss index, safetensors, torch.",
        ),
    ],
    encoder: Annotated[str, typer.Option(metavar="ID_OR_FOLDER", help="The encoder they were made with.")],
    layer: Annotated[list[int], typer.Option(help="Encoder layer of the file in the same position; repeat it.")],
    output: Folder,
    encoder_revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of the encoder's hub id.", show_default=False)
    ] = None,
) -> None:
    """K-means centroids, one file for each layer of an encoder: a tokenizer."""
    if len(layer) != len(files):
        raise typer.BadParameter(
            f"{len(layer)} layers {layer} for {len(files)} files: give each file its --layer", param_hint="--layer"
        )
    if len(set(layer)) < len(layer):
        raise typer.BadParameter(f"each layer can have one file, got layers {layer}", param_hint="--layer")
    from semtok.checkpoints.importing import import_kmeans

    by_layer = dict(zip(layer, files, strict=True))
    _report(output, import_kmeans(by_layer, output, encoder=encoder, encoder_revision=encoder_revision), None)


@import_app.command("unit-vocoder", epilog=example("import unit-vocoder"))
def import_unit_vocoder(
    generator: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Its weights, such as g_00500000.")
    ],
    config: Annotated[Path, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Its config.json.")],
    tokenizer: Annotated[str, typer.Option(metavar="ID_OR_FOLDER", help="What its units were made with.")],
    output: Folder,
) -> None:
    """A unit HiFi-GAN of fairseq or textlesslib, of one speaker and without pitch: the vocoder of a tokenizer."""
    from semtok.checkpoints.importing import import_unit_vocoder

    _report(output, None, import_unit_vocoder(generator, output, config=config, tokenizer=tokenizer))


def _report(output: Path, tokenizer: TokenizerConfig | None, vocoder: VocoderConfig | None) -> None:
    for part, section in (("tokenizer", tokenizer), ("vocoder", vocoder)):
        if section is not None:
            layers = ", ".join(map(str, section.layers))
            typer.echo(f"imported the {part} {section.fingerprint}, layers {layers}, to {output}")
