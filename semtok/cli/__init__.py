"""The command `semtok`: every command parses its arguments, calls the library and prints.

Torch and the library are imported inside the commands, so that help comes at once.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from semtok import __version__
from semtok.cli.benchmarking import benchmark
from semtok.cli.corpus import corpus, encode_corpus
from semtok.cli.demo import demo
from semtok.cli.exporting import export_app
from semtok.cli.groups import CHECKPOINTS, CORPORA, LAYERS, SETTINGS, TASKS, TOKENS, Commands, example
from semtok.cli.importing import import_app
from semtok.cli.info import info
from semtok.cli.language import continue_speech
from semtok.cli.learning import evaluate, train
from semtok.cli.live import live
from semtok.cli.models import models
from semtok.cli.segmenting import segment
from semtok.cli.studying import importance, select, study
from semtok.cli.tasks import task_commands
from semtok.cli.tokens import decode, encode, resynth
from semtok.errors import SemtokError

# Plain help and errors: rich's boxes would double the time that help takes.
app = typer.Typer(
    name="semtok",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)


def _add(group: str, name: str, command: Callable[..., None], summary: str, text: str | None = None) -> None:
    app.command(name, help=text, short_help=summary, epilog=example(name), rich_help_panel=group)(command)


def _add_several(group: str, name: str, commands: typer.Typer, summary: str) -> None:
    app.add_typer(commands, name=name, short_help=summary, rich_help_panel=group)


_add(TOKENS, "encode", encode, "Speech to tokens")
_add(TOKENS, "decode", decode, "Tokens to speech")
_add(TOKENS, "resynth", resynth, "Speech to tokens and back to speech")
_add(TOKENS, "live", live, "Microphone to loudspeaker, through tokens")
_add(TOKENS, "segment", segment, "A tokenizer of units of variable length")
_add(TOKENS, "demo", demo, "A web page to hear what layers keep")
_add(LAYERS, "study", study, "What each layer tells, costs and keeps")
_add(LAYERS, "select", select, "The best layers for a purpose")
_add(LAYERS, "importance", importance, "The layers that models of tasks use")
_add(LAYERS, "benchmark", benchmark, "Tokenizers beside each other on one page")
for task, command, text in task_commands():
    _add(TASKS, task.method, command, task.summary, text)
_add(TASKS, "continue", continue_speech, "A language model goes on speaking")
_add(CORPORA, "encode-corpus", encode_corpus, "A corpus of speech to Parquet files")
_add_several(CORPORA, "corpus", corpus, "Check, read and export such a corpus")
_add_several(CORPORA, "train", train, "Train encoders, vocoders, models on tokens")
_add_several(CORPORA, "evaluate", evaluate, "Measure resynthesis and language models")
_add(CHECKPOINTS, "info", info, "What a checkpoint or file of tokens holds")
_add(CHECKPOINTS, "models", models, "The checkpoints that go by name")
_add_several(CHECKPOINTS, "import", import_app, "Other people's codebooks and vocoders")
_add_several(CHECKPOINTS, "export", export_app, "Files for other engines")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"semtok {__version__}")
        raise typer.Exit


@app.callback()
def semtok(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Discrete speech tokens from the layers of self-supervised encoders, and back to speech from any of them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, by default of this process, and exits.

    Exit code 0: all done; 1: an error, or files that failed, each told on stderr; 2: wrong usage; 130: Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no UTF-8
    # As it ends, Python would search all objects of torch for cycles: a fifth of the time of a short command.
    atexit.register(gc.freeze)
    try:
        with _second_interrupt_ends(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app(arguments, prog_name="semtok")
    except (SemtokError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """Without the line of code that a warning comes from, which says nothing to whoever types a command."""
    typer.secho(f"warning: {message}", fg="yellow", err=True)


@contextmanager
def _second_interrupt_ends() -> Iterator[None]:
    """A first Ctrl-C raises `KeyboardInterrupt`; another one, while the command ends, ends the process at once."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # whoever runs this process deals with Ctrl-C itself
        return

    def end(number: int, frame: Any) -> None:
        os._exit(130)

    def interrupt(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, end)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)
