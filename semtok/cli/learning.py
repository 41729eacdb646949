"""`semtok train` and `semtok evaluate`: everything that needs an extra."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from semtok.cli.groups import Commands, example
from semtok.cli.options import (
    Changes,
    Checkpoint,
    Device,
    JudgeOptions,
    LocalFilesOnly,
    Revision,
    Speech,
    check_device,
    load_tokenizer,
    load_vocoder,
    parse_layers,
    with_options,
)
from semtok.errors import needs_extra
from semtok.training.steps import STEPS, tell_worth
from semtok.training.steps import train as run_step


class Steps(Commands):
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
evaluate = typer.Typer(cls=Commands, no_args_is_help=True, help="Measure quality. Needs the extra semtok[eval].")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", exists=True, dir_okay=False, help="YAML file.")]


def _train_command(step: str) -> Callable[..., None]:
    def command(config: ConfigFile, changes: Changes = None) -> None:
        result = run_step(step, str(config), changes or [])
        typer.echo(": ".join(filter(None, [str(result), tell_worth(result.parent)])))
        typer.echo(f"go on with: {STEPS[step].then.format(shlex.quote(str(result)))}")

    return command


for name, step in STEPS.items():
    train.command(name, help=step.help, epilog=example("train"))(_train_command(name))


@evaluate.command(epilog=example("evaluate resynthesis"))
@with_options
def resynthesis(
    judging: JudgeOptions,
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
    speaker: Annotated[
        bool, typer.Option("--speaker", help="Tell the vocoder the voice of each clip, beside its tokens.")
    ] = False,
    revision: Revision = None,
) -> None:
    """Encode and decode a folder of speech, and write what was kept of it as a table and a plot over bitrate."""
    subsets = [parse_layers(subset) or () for subset in layers or []]
    with needs_extra("eval"):
        from semtok.evaluation import evaluate_resynthesis, write_report

        local = judging.local_files_only
        where: dict[str, Any] = {"device": judging.device, "revision": revision, "local_files_only": local}
        vocoder = load_vocoder(checkpoint, **where)
        tokenizer = load_tokenizer(checkpoint, layers=vocoder.layers, **where)
        result = evaluate_resynthesis(
            tokenizer, vocoder, audio, subsets=subsets or None, judges=judging.load(), speaker=speaker
        )
        command = shlex.join(["semtok", *sys.argv[1:]])
        report, *others = write_report(result, output, checkpoint=checkpoint, command=command)
    typer.echo(report.read_text())
    typer.echo("written: " + ", ".join(map(str, [report, *others])))


@evaluate.command(epilog=example("evaluate language"))
def language(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Language model: folder, or hub id owner/name.")],
    suite: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Pairs of recordings: ZeroSpeech's lexical (sWUGGY) or syntactic (sBLIMP) folder, spoken or topic "
            "StoryCloze, SALMon, or a folder with several of them.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the report.")],
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """How often a language model finds the right recording of a pair likelier than the wrong one."""
    check_device(device)
    with needs_extra("eval"):
        from semtok.evaluation.language import evaluate_language, write_language_report
        from semtok.evaluation.suites import read_suite
        from semtok.language.model import SpeechLanguageModel

        tasks = read_suite(suite)
        loaded = SpeechLanguageModel.from_pretrained(
            model, revision=revision, local_files_only=local_files_only, device=device
        )
        command = shlex.join(["semtok", *sys.argv[1:]])
        accuracies = evaluate_language(loaded, tasks)
        report, data = write_language_report(
            accuracies, output, model=model, fingerprint=loaded.fingerprint, command=command
        )
    typer.echo(report.read_text(encoding="utf-8"))
    typer.echo(f"written: {report}, {data}")
