"""Clips of any lengths through a module: in batches of bounded size, which worker threads read and run."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from threading import Semaphore
from typing import NamedTuple, ParamSpec, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.lengths import Framing, Windows
from semtok.audio.recordings import Recording
from semtok.encoder.code_encoder import CodeEncoder
from semtok.encoder.encoder import Encoder
from semtok.encoder.windows import run_windows
from semtok.errors import AudioError
from semtok.networks.sequences import plan_batches
from semtok.support.progress import progress_bar

P = ParamSpec("P")
T = TypeVar("T")

Outcome: TypeAlias = tuple[int, Tensor | AudioError]
"""Number of a clip, and what came of it, [layers or rows, frames, ...], or what is wrong with it."""


@dataclass(frozen=True)
class Schedule:
    """How clips are batched on a kind of device. No token depends on it.

    Args:
        batch_seconds: audio of a batch with its padding, unless one clip has more. Bounds memory.
        workers: batches that are read or run at a time.
        running: those of them that are run. On a CPU two, as one computes while the other does what takes one core
            only, and more would compete for the cores; on an accelerator one, for its memory.
    """

    batch_seconds: float
    workers: int
    running: int


CPU = Schedule(batch_seconds=20, workers=2, running=2)
ACCELERATOR = Schedule(batch_seconds=240, workers=4, running=1)


class Clips(NamedTuple):
    """Recordings to run through a module, which layers of it are wanted, and the windows of long recordings."""

    module: Encoder | CodeEncoder
    recordings: Sequence[Recording]
    layers: tuple[int, ...]
    windows: Windows

    def is_long(self, number: int) -> bool:
        return not self.windows.one_is_enough(self.module.framing.count(self.recordings[number].samples))

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device


def run_all(clips: Clips, *, progress: bool) -> list[Tensor]:
    """What the module makes of each recording, [layers or rows, frames, ...], in their order.

    `progress` shows a bar on stderr.

    Raises:
        AudioError: a recording cannot be read or is shorter than one frame; the others are then given up.
    """
    found: dict[int, Tensor] = {}
    with progress_bar("encoding", len(clips.recordings), visible=progress) as bar:
        for number, outcome in run_each(clips):
            if isinstance(outcome, AudioError):
                raise outcome
            found[number] = outcome
            bar.advance()
    return [found[number] for number in range(len(found))]


def run_each(clips: Clips) -> Iterator[Outcome]:
    """As `run_all`, but each clip as it is done, long ones first, with its error in place of what is wrong with it.

    No more than a few batches are read, or done, ahead of the caller.
    """
    schedule = CPU if clips.device.type == "cpu" else ACCELERATOR
    batches, unread = _plan(clips, round(schedule.batch_seconds * clips.module.framing.sample_rate))
    yield from unread
    run = functools.partial(_run_batch, clips, Semaphore(schedule.running))
    for outcomes in _map_ahead(run, batches, schedule.workers) if len(batches) > 1 else map(run, batches):
        yield from outcomes


def _plan(clips: Clips, batch_samples: int) -> tuple[list[list[int]], list[Outcome]]:
    """Clips of similar length together, the longest batch first; and those whose length cannot be told.

    What seems too short for a frame comes before all others, alone: if it is, that is said at once.
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
        with gate:
            padded = pad_sequence([waveform.to(clips.device) for waveform in waveforms.values()], batch_first=True)
            found, frames = clips.module(padded, lengths, clips.layers)
        outcomes += [(number, row[:, :end]) for number, row, end in zip(waveforms, found, frames.tolist(), strict=True)]
    return outcomes


def _run_long(clips: Clips, number: int) -> Tensor:
    pieces = run_windows(clips.module, clips.recordings[number], clips.layers, clips.windows)
    return torch.cat(list(pieces), dim=1)


def _load(recording: Recording, framing: Framing) -> Tensor:
    waveform = recording.load()
    if len(waveform) < framing.minimum_samples:
        raise AudioError(
            f"{recording.name} has {len(waveform)} samples at {framing.sample_rate} Hz, fewer than the "
            f"{framing.minimum_samples} of one frame: leave it out or join it to its neighbour"
        )
    return waveform


def _map_ahead(
    run: Callable[[Sequence[int]], list[Outcome]], batches: Iterable[Sequence[int]], workers: int
) -> Iterator[list[Outcome]]:
    """`map` in threads, at most `workers` results ahead of the caller; no thread outlives it."""
    waiting: deque[Future[list[Outcome]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="semtok")
    try:
        for batch in batches:
            waiting.append(pool.submit(run, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | AudioError:
    try:
        return call(*args, **kwargs)
    except AudioError as error:
        return error
