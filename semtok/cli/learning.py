"""`semtok train` and `semtok evaluate`: everything that needs an extra."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from semtok.cli.options import (
    Checkpoint,
    Device,
    LocalFilesOnly,
    Revision,
    Speech,
    load_tokenizer,
    load_vocoder,
    parse_layers,
)
from semtok.errors import needs_extra
from semtok.training.steps import STEPS
from semtok.training.steps import train as run_step


class Steps(TyperGroup):
    """The commands `semtok train STEP`; for another step an error names them all."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            raise typer.BadParameter(f"there is no step {cmd_name!r}, known are {', '.join(STEPS)}")
        return command


train = typer.Typer(
    cls=Steps,
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


def _train_command(step: str) -> Callable[..., None]:
    def command(config: ConfigFile, changes: Changes = None) -> None:
        run_step(step, str(config), changes or [])

    return command


for name, step in STEPS.items():
    train.command(name, help=step.help)(_train_command(name))


@evaluate.command()
def resynthesis(
    audio: Speech,
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
