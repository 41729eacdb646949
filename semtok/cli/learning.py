"""`semtok train` and `semtok evaluate`: everything that needs an extra."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from semtok.cli.options import (
    Checkpoint,
    Device,
    LocalFilesOnly,
    Revision,
    load_tokenizer,
    load_vocoder,
    parse_layers,
)
from semtok.errors import needs_extra

train = typer.Typer(
    no_args_is_help=True,
    help="Train an encoder, codebooks, a vocoder, or a model on tokens. Needs the extra semtok[train].",
)
evaluate = typer.Typer(no_args_is_help=True, help="Measure quality. Needs the extra semtok[eval].")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", exists=True, dir_okay=False, help="YAML file.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change an entry of the config, steps=100 or generator.istft.width=64; may be repeated.",
        show_default=False,
    ),
]


@train.command("encoder")
def train_encoder(config: ConfigFile, changes: Changes = None) -> None:
    """An encoder, by masked prediction.

    Saved in transformers' layout. A run that was stopped goes on from its last saved state.
    """
    _train("encoder", config, changes)


@train.command("kmeans")
def train_kmeans(config: ConfigFile, changes: Changes = None) -> None:
    """A codebook for each chosen layer of an encoder, which makes a tokenizer."""
    _train("kmeans", config, changes)


@train.command("vocoder")
def train_vocoder(config: ConfigFile, changes: Changes = None) -> None:
    """The vocoder of a tokenizer.

    A run that was stopped goes on from its last saved state.
    """
    _train("vocoder", config, changes)


@train.command("language")
def train_language(config: ConfigFile, changes: Changes = None) -> None:
    """A language model on tokens, which `semtok continue` lets speak."""
    _train("language", config, changes)


@train.command("asr")
def train_asr(config: ConfigFile, changes: Changes = None) -> None:
    """A speech recogniser, on the tokens of a tokenizer."""
    _train("asr", config, changes)


@train.command("classifier")
def train_classifier(config: ConfigFile, changes: Changes = None) -> None:
    """A classifier of utterances by any column of a manifest, such as emotion."""
    _train("classifier", config, changes)


@train.command("speaker")
def train_speaker(config: ConfigFile, changes: Changes = None) -> None:
    """A verifier of speakers."""
    _train("speaker", config, changes)


@train.command("enhance")
def train_enhance(config: ConfigFile, changes: Changes = None) -> None:
    """An enhancer of noisy speech."""
    _train("enhance", config, changes)


@train.command("tts")
def train_tts(config: ConfigFile, changes: Changes = None) -> None:
    """Text to speech, with the timing of a recogniser."""
    _train("tts", config, changes)


@evaluate.command()
def resynthesis(
    audio: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Speech, with texts if it has a manifest.csv (path, text).",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the report.")],
    checkpoint: Checkpoint = "tiny",
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers",
            "-l",
            metavar="1,3,7",
            help="Layers to decode together; may be repeated. By default every single layer, some pairs, all.",
            show_default=False,
        ),
    ] = None,
    recognizer: Annotated[
        str, typer.Option(metavar="ID_OR_FOLDER", help="Whisper or CTC model of transformers, for WER and dWER.")
    ] = "openai/whisper-base",
    recognizer_dtype: Annotated[
        str, typer.Option(help="Its floating-point type; bfloat16 is faster where the CPU has it.")
    ] = "float32",
    language: Annotated[str, typer.Option(help="Code of the language spoken, for the recognizer.")] = "en",
    speaker_model: Annotated[
        str | None,
        typer.Option(
            metavar="ID_OR_FOLDER",
            help="X-vector model of transformers, or resemblyzer. By default microsoft/wavlm-base-plus-sv, and "
            "resemblyzer where the hub cannot be asked.",
            show_default=False,
        ),
    ] = None,
    speaker: Annotated[
        bool, typer.Option("--speaker", help="Tell the vocoder the voice of each clip, beside its tokens.")
    ] = False,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Encode and decode a folder of speech, and write what was kept of it as a table and a plot over bitrate."""
    subsets = [parse_layers(subset) or () for subset in layers or []]
    with needs_extra("eval"):
        from semtok.evaluation import evaluate_resynthesis, load_judges, write_report

        vocoder = load_vocoder(checkpoint, device=device, revision=revision, local_files_only=local_files_only)
        tokenizer = load_tokenizer(
            checkpoint,
            layers=vocoder.layers,
            device=device,
            revision=revision,
            local_files_only=local_files_only,
        )
        judges = load_judges(
            recognizer,
            speaker_model,
            language=language,
            device=device,
            dtype=recognizer_dtype,
            local_files_only=local_files_only,
        )
        for line in judges.missing:
            typer.echo(line, err=True)
        result = evaluate_resynthesis(
            tokenizer, vocoder, audio, subsets=subsets or None, judges=judges, speaker=speaker
        )
        command = shlex.join(["semtok", *sys.argv[1:]])
        report, *others = write_report(result, output, checkpoint=checkpoint, command=command)
    typer.echo(report.read_text())
    typer.echo("written: " + ", ".join(map(str, [report, *others])))


def _train(step: str, config: Path, changes: list[str] | None) -> None:
    from semtok.training.__main__ import train as run_step

    run_step(step, str(config), changes or [])
