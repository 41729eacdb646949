"""Clips of any lengths through an encoder: in batches of bounded size, which worker threads read and run."""

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

from semtok.audio.recordings import Recording
from semtok.encoder.encoder import Encoder
from semtok.encoder.windows import is_long, long_features
from semtok.errors import AudioError
from semtok.progress import progress_bar

P = ParamSpec("P")
T = TypeVar("T")

Finish: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""Features [batch, frames, dim] of each layer -> what is wanted of them, [batch, frames, ...]."""

Outcome: TypeAlias = tuple[int, Tensor | AudioError]
"""Number of a clip, and what came of it, [frames, ...], or what is wrong with it."""


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
    """Recordings to run through an encoder, and how.

    Args:
        layers: whose features are wanted.
        finish: what becomes of them.
        chunk_seconds, context_seconds: of the windows that long recordings are cut into, see `long_features`.
    """

    encoder: Encoder
    recordings: Sequence[Recording]
    layers: tuple[int, ...]
    finish: Finish
    chunk_seconds: float
    context_seconds: float

    def is_long(self, number: int) -> bool:
        return is_long(self.encoder, self.recordings[number], self.chunk_seconds, self.context_seconds)


def run_all(clips: Clips, *, progress: bool) -> list[Tensor]:
    """What `finish` makes of each recording, [frames, ...], in their order; `progress` shows a bar on stderr.

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
    schedule = CPU if _device(clips.encoder).type == "cpu" else ACCELERATOR
    batches, unread = _plan(clips, round(schedule.batch_seconds * clips.encoder.sample_rate))
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
    order = sorted(samples, key=samples.__getitem__)
    batches = []
    while order and samples[order[0]] < clips.encoder.minimum_samples:
        batches.append([order.pop(0)])
    while order:
        size = 1 if clips.is_long(order[-1]) else max(1, batch_samples // samples[order[-1]])
        order, batch = order[:-size], order[-size:]
        batches.append(batch)
    return batches, unread


def _run_batch(clips: Clips, gate: Semaphore, batch: Sequence[int]) -> list[Outcome]:
    if clips.is_long(batch[0]):
        return [(batch[0], _attempt(_run_long, clips, batch[0]))]
    loaded = {number: _attempt(_load, clips.recordings[number], clips.encoder) for number in batch}
    outcomes: list[Outcome] = [(number, error) for number, error in loaded.items() if isinstance(error, AudioError)]
    waveforms = {number: waveform for number, waveform in loaded.items() if isinstance(waveform, Tensor)}
    if waveforms:
        device = _device(clips.encoder)
        lengths = torch.tensor([len(waveform) for waveform in waveforms.values()])
        with gate:
            padded = pad_sequence([waveform.to(device) for waveform in waveforms.values()], batch_first=True)
            features, frames = clips.encoder(padded, lengths, clips.layers)
            found = clips.finish(features)
        outcomes += [(number, row[:end]) for number, row, end in zip(waveforms, found, frames.tolist(), strict=True)]
    return outcomes


def _run_long(clips: Clips, number: int) -> Tensor:
    recording, windows = clips.recordings[number], (clips.chunk_seconds, clips.context_seconds)
    pieces = long_features(clips.encoder, recording, clips.layers, *windows)
    return torch.cat([clips.finish([layer[None] for layer in features])[0] for _, features in pieces])


def _load(recording: Recording, encoder: Encoder) -> Tensor:
    waveform = recording.load()
    if len(waveform) < encoder.minimum_samples:
        raise AudioError(
            f"{recording.name} has {len(waveform)} samples at {encoder.sample_rate} Hz, fewer than the "
            f"{encoder.minimum_samples} of one frame: leave it out or join it to its neighbour"
        )
    return waveform


def _device(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device


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
