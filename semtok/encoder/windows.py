"""Recordings of any length through an encoder: in windows that see context on both sides, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semtok.audio.recordings import Recording
from semtok.encoder.encoder import Encoder
from semtok.encoder.statistics import Statistics
from semtok.errors import AudioError

CHUNK_SECONDS = 30.0
CONTEXT_SECONDS = 5.0
"""Of the windows, where nobody says otherwise: what they cost is in docs/long-audio.md."""

# Read at a time: far shorter than a window, and long enough that reading costs nothing.
_BLOCK_SECONDS = 10


class Window(NamedTuple):
    """Frames `start` to `stop` of a recording, for which an encoder is shown frames `first` to `last`."""

    first: int
    start: int
    stop: int
    last: int


def window_frames(encoder: Encoder, chunk_seconds: float, context_seconds: float) -> tuple[float, float]:
    """Frames of a chunk and of the context on either side.

    Raises:
        AudioError: a chunk of 0 seconds or less, or a context below 0.
    """
    if not (chunk_seconds > 0 and context_seconds >= 0):
        raise AudioError(
            "chunk_seconds must be above 0 and context_seconds 0 or more, "
            f"got {chunk_seconds!r} and {context_seconds!r}"
        )
    rate = encoder.sample_rate / encoder.hop_length
    frames = (
        math.inf if seconds == math.inf else round(seconds * rate) for seconds in (chunk_seconds, context_seconds)
    )
    chunk, context = frames
    return max(chunk, 1), context


def is_long(encoder: Encoder, recording: Recording, chunk_seconds: float, context_seconds: float) -> bool:
    """Whether a recording has more frames than one window shows; else it goes through the encoder in one piece."""
    chunk, context = window_frames(encoder, chunk_seconds, context_seconds)
    return encoder.frame_count(recording.samples) > chunk + 2 * context


def plan_windows(frames: int, chunk: float, context: float) -> Iterator[Window]:
    """One window if so many frames fit in; else a window a chunk, the last one shorter.

    Args:
        chunk: frames of the answer that a window gives.
        context: frames that it shows on either side of them, as far as there are any.
    """
    if frames <= chunk + 2 * context:
        yield Window(0, 0, frames, frames)
        return
    size, around = int(chunk), int(context)
    for start in range(0, frames, size):
        stop = min(start + size, frames)
        yield Window(max(start - around, 0), start, stop, min(stop + around, frames))


def long_features(
    encoder: Encoder, recording: Recording, layers: Sequence[int], chunk_seconds: float, context_seconds: float
) -> Iterator[tuple[int, list[Tensor]]]:
    """Features of a recording, chunk by chunk, in memory that does not grow with it.

    It is read twice: once for the statistics of the whole of it, by which every window is normalised. A recording that
    fits in one window gives just what `Encoder` gives for it.

    Args:
        chunk_seconds: how much of the answer a window gives.
        context_seconds: what the window shows of the recording on either side of that.

    Yields:
        Number of the chunk's first frame; features [frames, dim] of each layer in the order asked.

    Raises:
        AudioError: the recording is shorter than one frame or cannot be read; chunks or context as `window_frames`.
    """
    chunk, context = window_frames(encoder, chunk_seconds, context_seconds)
    statistics, samples = _measure(encoder, recording)
    windows = plan_windows(encoder.frame_count(samples), chunk, context)
    for window, waveform in _cut_windows(encoder, recording, windows):
        features, _ = encoder(waveform[None], torch.tensor([len(waveform)]), layers, [statistics])
        yield window.start, [layer[0, window.start - window.first : window.stop - window.first] for layer in features]


def _measure(encoder: Encoder, recording: Recording) -> tuple[Statistics, int]:
    """Statistics and samples of a recording, in one pass over it."""
    samples = 0

    def counted() -> Iterator[Tensor]:
        nonlocal samples
        for block in recording.blocks(_BLOCK_SECONDS):
            samples += len(block)
            yield block

    return encoder.statistics(counted()), samples


def _cut_windows(encoder: Encoder, recording: Recording, windows: Iterable[Window]) -> Iterator[tuple[Window, Tensor]]:
    """The samples under the frames of each window, on the encoder's device; no more than those are held."""
    device = next(encoder.parameters()).device
    blocks = recording.blocks(_BLOCK_SECONDS)
    held: list[Tensor] = []
    held_from = held_to = 0
    for window in windows:
        begin, end = encoder.frame_span(window.first, window.last)
        while held_to < end:
            block = next(blocks, None)
            if block is None:
                raise AudioError(f"{recording.name} changed while it was read: it ends before sample {end}")
            held.append(block)
            held_to += len(block)
        samples = torch.cat(held)[begin - held_from :]
        held, held_from = [samples], begin
        yield window, samples[: end - begin].to(device)
