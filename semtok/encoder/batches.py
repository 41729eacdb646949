"""Clips of any lengths through an encoder, in batches that worker threads read and run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from threading import Semaphore
from typing import NamedTuple, ParamSpec, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.lengths import Framing, Windows
from semtok.audio.recordings import Recording
from semtok.codebooks.layers import Layer
from semtok.encoder.code_encoder import CodeEncoder
from semtok.encoder.encoder import Encoder
from semtok.encoder.segment_encoder import SegmentEncoder
from semtok.encoder.windows import run_windows
from semtok.errors import AudioError
from semtok.networks.sequences import plan_batches
from semtok.support.progress import progress_bar
from semtok.support.threads import map_ahead

P = ParamSpec("P")
T = TypeVar("T")

Outcome: TypeAlias = tuple[int, Tensor | AudioError]
"""Number of a clip, and its features or codes, [layers or rows, frames, ...], or its error."""


@dataclass(frozen=True)
class Schedule:
    """How clips are batched on a kind of device. No token depends on it.

    Args:
        batch_seconds: seconds of audio in a batch, padding included, which bound memory. A longer clip is a batch by
            itself.
        workers: batches that are read or run at the same time.
        running: batches that are run at the same time. A CPU runs two: one batch computes on all cores while the
            other is in a part that uses a single core; more batches would compete for the cores. An accelerator runs
            one, because of its memory.
    """

    batch_seconds: float
    workers: int
    running: int


CPU = Schedule(batch_seconds=20, workers=2, running=2)
ACCELERATOR = Schedule(batch_seconds=240, workers=4, running=1)


class Clips(NamedTuple):
    """Recordings for a module, the layers that are wanted of it, and the windows of long recordings."""

    module: Encoder | CodeEncoder
    recordings: Sequence[Recording]
    layers: tuple[Layer, ...]
    windows: Windows

    def is_long(self, number: int) -> bool:
        return not self.windows.one_is_enough(self.module.framing.count(self.recordings[number].samples))

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device


def run_all(clips: Clips, *, progress: bool) -> list[Tensor]:
    """Features or codes of all recordings, [layers or rows, frames, ...] each, in the order of the recordings.

    Args:
        clips: the recordings and their module.
        progress: show a bar on stderr.

    Raises:
        AudioError: a recording cannot be read or is shorter than one frame; the other recordings are then given up.
    """
    outputs: dict[int, Tensor] = {}
    with progress_bar("encoding", len(clips.recordings), visible=progress) as bar:
        for number, outcome in run_each(clips):
            if isinstance(outcome, AudioError):
                raise outcome
            outputs[number] = outcome
            bar.advance()
    return [outputs[number] for number in range(len(outputs))]


def run_each(clips: Clips) -> Iterator[Outcome]:
    """Features or codes of each recording as soon as they are computed, long recordings first; errors are yielded.

    Only a few batches are read or computed before the caller asks for them.
    """
    schedule = CPU if clips.device.type == "cpu" else ACCELERATOR
    batches, unread = _plan(clips, round(schedule.batch_seconds * clips.module.framing.sample_rate))
    yield from unread
    run = functools.partial(_run_batch, clips, Semaphore(schedule.running))
    for outcomes in map_ahead(run, batches, schedule.workers) if len(batches) > 1 else map(run, batches):
        yield from outcomes


def _plan(clips: Clips, batch_samples: int) -> tuple[list[list[int]], list[Outcome]]:
    """Batches of clips of similar length, the longest clips first, and the errors of clips without a known length.

    Clips that seem too short for a frame come first, each by itself, so that their errors come before long work.
    """
    samples: dict[int, int] = {}
    unread: list[Outcome] = []
    for number, recording in enumerate(clips.recordings):
        length = _attempt(attrgetter("samples"), recording)
        if isinstance(length, AudioError):
            unread.append((number, length))
        else:
            samples[number] = length
    minimum = clips.module.framing.minimum_samples
    short = [[number] for number, length in samples.items() if length < minimum]
    others = [number for number, length in samples.items() if length >= minimum]
    # A long clip goes through windows, and so is a batch by itself, as is all that is beyond the budget.
    lengths = [samples[number] + batch_samples * clips.is_long(number) for number in others]
    return short + [[others[place] for place in batch] for batch in plan_batches(lengths, batch_samples)], unread


def _run_batch(clips: Clips, gate: Semaphore, batch: Sequence[int]) -> list[Outcome]:
    if clips.is_long(batch[0]):
        return [(batch[0], _attempt(_run_long, clips, batch[0]))]
    loaded = {number: _attempt(_load, clips.recordings[number], clips.module.framing) for number in batch}
    outcomes: list[Outcome] = [(number, error) for number, error in loaded.items() if isinstance(error, AudioError)]
    waveforms = {number: waveform for number, waveform in loaded.items() if isinstance(waveform, Tensor)}
    if waveforms:
        lengths = torch.tensor([len(waveform) for waveform in waveforms.values()])
        # From the lengths again, as those that the module gives would have to come from its device.
        ends = map(clips.module.framing.count, lengths.tolist())
        with gate:
            padded = pad_sequence([waveform.to(clips.device) for waveform in waveforms.values()], batch_first=True)
            outputs, _ = clips.module(padded, lengths, clips.layers)
        outcomes += [(number, row[:, :end]) for number, row, end in zip(waveforms, outputs, ends, strict=True)]
    return outcomes


def _run_long(clips: Clips, number: int) -> Tensor:
    module, recording = clips.module, clips.recordings[number]
    if isinstance(module, SegmentEncoder) and module.segmentation.penalty is not None:
        return module.follow(run_windows(module.encoder, recording, clips.layers, clips.windows))
    return torch.cat(list(run_windows(module, recording, clips.layers, clips.windows)), dim=1)


def _load(recording: Recording, framing: Framing) -> Tensor:
    waveform = recording.load()
    if len(waveform) < framing.minimum_samples:
        raise AudioError(
            f"{recording.name} has {len(waveform)} samples at {framing.sample_rate} Hz, fewer than the "
            f"{framing.minimum_samples} of one frame: leave it out or join it to its neighbour"
        )
    return waveform


def _attempt(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | AudioError:
    try:
        return call(*args, **kwargs)
    except AudioError as error:
        return error
