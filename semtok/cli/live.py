"""`semtok live`: a microphone, or a pipe, through tokens to a loudspeaker."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from semtok.cli.options import (
    Checkpoint,
    Device,
    Layers,
    LocalFilesOnly,
    Revision,
    Speaker,
    load_tokenizer,
    load_vocoder,
    parse_layers,
)

if TYPE_CHECKING:
    from semtok.audio.devices import Sink
    from semtok.vocoder import Vocoder


def live(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[IN]",
            help="- for raw samples on standard input, or the name or number of a microphone; by default the system's.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="- for raw samples on standard output, or the name or number of a loudspeaker.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Checkpoint = "tiny",
    layers: Layers = None,
    speaker: Speaker = None,
    sample_rate: Annotated[
        int | None, typer.Option(metavar="HZ", help="Of the input; by default the tokenizer's.", show_default=False)
    ] = None,
    block: Annotated[float, typer.Option(metavar="SECONDS", help="Of speech that is computed at a time.")] = 0.16,
    look_ahead: Annotated[
        float, typer.Option(metavar="SECONDS", help="Of speech after a token that the tokenizer waits for.")
    ] = 0.32,
    vocoder_look_ahead: Annotated[
        float, typer.Option(metavar="SECONDS", help="Of tokens after a frame that the vocoder waits for.")
    ] = 0.24,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Speech through tokens while it is spoken: microphone -> tokens of some layers -> loudspeaker.

    Says on stderr how much later speech comes out, and what the delay is made of. Ends with the input, or by Ctrl-C.
    Pipes carry raw samples, 16 bits, little endian, one channel: those of IN at --sample-rate, those of OUT at the
    vocoder's. OUT begins with as much silence as speech is delayed. Devices need the extra semtok[live].
    """
    chosen = parse_layers(layers)
    vocoder = load_vocoder(checkpoint, device=device, revision=revision, local_files_only=local_files_only)
    from semtok.audio.devices import PipeSink, open_loudspeaker, open_microphone, read_pipe
    from semtok.codebooks.layers import check_layers
    from semtok.streaming.live import LiveSpeech

    chosen = check_layers(chosen or vocoder.layers, vocoder.layers, owner=f"the vocoder of {checkpoint}")
    tokenizer = load_tokenizer(
        checkpoint, layers=chosen, device=device, revision=revision, local_files_only=local_files_only
    )
    rate = sample_rate or tokenizer.sample_rate
    tokens = tokenizer.stream(sample_rate=sample_rate, block_seconds=block, look_ahead_seconds=look_ahead)
    voice = None if speaker is None else vocoder.speaker(speaker)[0]
    speech = vocoder.stream(layers=chosen, speaker=voice, look_ahead_seconds=vocoder_look_ahead)
    _warn_of_short_look_ahead(vocoder, vocoder_look_ahead)
    # One frame at a time: what waits for its piece to be full is late by as much.
    piece = max(1, round(rate / tokenizer.frame_rate))
    with LiveSpeech(tokens, speech, rate_in=rate, rate_out=vocoder.sample_rate) as line, ExitStack() as devices:
        sink: Sink = (
            PipeSink(sys.stdout.buffer)
            if output == "-"
            else devices.enter_context(open_loudspeaker(output, vocoder.sample_rate))
        )
        pieces = (
            read_pipe(sys.stdin.buffer, piece)
            if source == "-"
            else devices.enter_context(open_microphone(source, rate, piece))
        )
        report = _Report(line.delay_seconds, piece / rate, sink)
        try:
            for samples in pieces:
                with report:
                    answer = line.push(samples).numpy()
                sink.play(answer)
        except KeyboardInterrupt:
            pass
        finally:
            report.print(last=True)
        sink.play(line.flush().numpy())


def _warn_of_short_look_ahead(vocoder: Vocoder, seconds: float) -> None:
    _, after = vocoder.network.generator.receptive_frames
    trained = after / vocoder.frame_rate
    if seconds < trained:
        typer.echo(
            f"the vocoder was trained to see {trained:.2f} s ahead; with --vocoder-look-ahead {seconds:g} speech is "
            "close to, not the same as, that of `semtok decode`",
            err=True,
        )


class _Report:
    """The delay of a line and what it is made of; a `with` block measures the computing of one piece."""

    def __init__(self, delay: float, piece: float, sink: Sink) -> None:
        self._delay, self._piece, self._sink = delay, piece, sink
        self._pieces = 0
        self._computing = self._longest = 0.0
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *error: object) -> None:
        now = time.monotonic()
        self._pieces += 1
        self._computing += now - self._began
        self._longest = max(self._longest, now - self._began)
        if sys.stderr.isatty() and now - self._printed >= 1:
            self._printed = now
            self.print()

    def print(self, *, last: bool = False) -> None:
        """One line on stderr, which the next one replaces unless it is the last."""
        seconds = self._pieces * self._piece
        share = self._computing / max(seconds, self._piece)
        text = (
            f"delay {self._delay + self._piece + self._longest:.2f} s: {self._delay:.3f} to wait for speech, "
            f"{self._piece:.2f} a piece, {self._longest:.2f} at most to compute; {seconds:.1f} s went in, "
            f"computing took {share:.0%} of them, {self._sink.gaps} gaps"
        )
        typer.echo(text if last else f"{text}\r", err=True, nl=last)
        if last and share > 1:
            typer.echo("computing takes longer than speech: a longer --block or fewer --layers help", err=True)
