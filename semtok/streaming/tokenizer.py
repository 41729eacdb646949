"""`TokenizerStream`: speech -> tokens while it is being spoken."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from semtok.audio.io import AudioArray, check_sample_rate, to_waveform
from semtok.audio.lengths import Window
from semtok.codebooks.codebooks import Codebooks
from semtok.encoder.code_encoder import CodeEncoder
from semtok.encoder.statistics import Statistics
from semtok.errors import AudioError
from semtok.streaming.stream import Stream
from semtok.tokens import Tokens

if TYPE_CHECKING:
    from soxr import ResampleStream


class TokenizerStream(Stream):
    """Tokens of a signal as it arrives, block by block. `Tokenizer.stream` opens a stream, `flush` ends it.

    A block of frames is answered once the look-ahead after the block has arrived. For each block the encoder runs on
    the context before the block, the block and the look-ahead, so that every block costs the same. The input is
    normalised by the statistics of all samples up to the end of the look-ahead, or by the statistics of the caller.

    The tokens do not depend on how the samples are cut into pushes. The stream gives as many frames in all as
    `Tokenizer.encode` gives for the whole signal. Several streams can share a tokenizer, as each has its own state.
    """

    def __init__(
        self,
        network: CodeEncoder,
        codebooks: Codebooks,
        fingerprint: str,
        *,
        sample_rate: int | None,
        block_seconds: float,
        look_ahead_seconds: float,
        context_seconds: float,
        statistics: Statistics | None,
    ) -> None:
        """Arguments as in `Tokenizer.stream`. Durations are rounded to frames, and a block has at least one frame."""
        if not (
            0 < block_seconds < math.inf and 0 <= look_ahead_seconds < math.inf and 0 <= context_seconds < math.inf
        ):
            raise AudioError(
                "block_seconds must be above 0, look_ahead_seconds and context_seconds 0 or more, all finite; "
                f"got {block_seconds!r}, {look_ahead_seconds!r} and {context_seconds!r}"
            )
        self._network = network
        self._framing = network.framing
        self._codebooks = codebooks
        self._fingerprint = fingerprint
        rate = self._framing.rate
        self._block = max(1, round(block_seconds * rate))
        self._look_ahead = round(look_ahead_seconds * rate)
        self._context = round(context_seconds * rate)
        self._statistics = statistics
        self._gathered = network.encoder.running_statistics()
        self._resampler = _open_resampler(sample_rate, self._framing.sample_rate)
        self._delay = _measure_delay(sample_rate, self._framing.sample_rate)
        self._held = torch.zeros(0)
        self._held_from = 0
        self._measured = 0
        self._answered = 0

    @property
    def latency_seconds(self) -> float:
        """The longest time from a sound to its token, without the time of computing.

        The latency is block and look-ahead, plus the receptive field of a frame beyond its hop, plus the delay of the
        resampler.
        """
        _, samples = self._framing.span(0, self._block + self._look_ahead)
        return samples / self._framing.sample_rate + self._delay

    def push(self, samples: AudioArray) -> Tokens:
        """The next samples of the signal -> the tokens of all blocks that are complete by now, possibly none.

        Args:
            samples: floating point [samples] in [-1, 1], numpy or torch, at the stream's `sample_rate`; possibly none.

        Returns:
            Tokens with codes int64 [1, rows, frames].

        Raises:
            AudioError: samples of another shape or type, NaN, Inf or a peak beyond 100, none of which the stream then
                uses; a stream that was flushed or closed.
        """
        self._check_open(AudioError)
        if not isinstance(samples, (np.ndarray, Tensor)):
            raise AudioError(
                f"a stream takes samples as a numpy array or a torch tensor [samples], got {type(samples).__name__}: "
                "for a list, numpy.asarray(samples, dtype='float32')"
            )
        if samples.ndim != 1:
            raise AudioError(f"a stream takes samples [samples] of one channel, got shape {list(samples.shape)}")
        if len(samples) > 0:
            self._take(to_waveform(samples, "the push"), last=False)
        return self._answer(last=False)

    def flush(self) -> Tokens:
        """Ends the stream and gives the tokens of the remaining frames; `AudioError` if the stream has ended before."""
        self._check_open(AudioError)
        if self._resampler is not None:
            self._take(torch.zeros(0), last=True)
        tokens = self._answer(last=True)
        self.close()
        return tokens

    def _forget(self) -> None:
        self._held = torch.zeros(0)

    def _take(self, samples: Tensor, *, last: bool) -> None:
        if self._resampler is not None:
            samples = torch.from_numpy(self._resampler.resample_chunk(samples.cpu().numpy(), last=last))
        self._held = torch.cat([self._held, samples.cpu()])

    def _answer(self, *, last: bool) -> Tokens:
        """Tokens of the blocks that are complete; at the end also of the frames after the last block."""
        received = self._framing.count(self._held_from + len(self._held))
        device = next(self._network.parameters()).device
        codes = [torch.zeros(1, len(self._codebooks.sizes), 0, dtype=torch.int64, device=device)]
        while self._answered + self._block + self._look_ahead <= received:
            codes.append(self._run(self._block, self._answered + self._block + self._look_ahead))
        if last and self._answered < received:
            self._measure(self._held_from + len(self._held))
            codes.append(self._run(received - self._answered, received))
        return Tokens.of([torch.cat(codes, dim=2)[0]], self._codebooks, self._framing.rate, self._fingerprint)

    def _run(self, frames: int, seen: int) -> Tensor:
        """Codes [1, rows, frames] of the next frames, for which the encoder sees the signal up to frame `seen`."""
        window = Window(max(self._answered - self._context, 0), self._answered, self._answered + frames, seen)
        begin, end = self._framing.span(window.first, window.last)
        self._measure(end)
        self._held, self._held_from = self._held[begin - self._held_from :], begin
        waveform = self._held[: end - begin].to(next(self._network.parameters()).device)
        statistics = self._statistics or self._gathered.current()
        codes, _ = self._network(waveform[None], torch.tensor([len(waveform)]), self._codebooks.layers, [statistics])
        self._answered = window.stop
        answer: Tensor = codes[:, :, window.answered]
        return answer

    def _measure(self, end: int) -> None:
        """Adds the samples up to `end` to the running statistics."""
        if self._statistics is None and end > self._measured:
            self._gathered.add(self._held[self._measured - self._held_from : end - self._held_from])
            self._measured = end


def _open_resampler(sample_rate: int | None, target: int) -> ResampleStream | None:
    """The resampler of a stream at `sample_rate`; None for a stream at the rate of the tokenizer."""
    if sample_rate is None or sample_rate == target:
        return None
    import soxr

    check_sample_rate(sample_rate, "sample_rate")
    return soxr.ResampleStream(sample_rate, target, num_channels=1, dtype="float32", quality="HQ")


def _measure_delay(sample_rate: int | None, target: int) -> float:
    """The longest delay of the resampler in seconds, measured on a second of silence in steps of 1 ms."""
    resampler = _open_resampler(sample_rate, target)
    if resampler is None or sample_rate is None:
        return 0.0
    step = torch.zeros(sample_rate // 1000).numpy()
    given = answered = 0
    delay = 0.0
    for _ in range(1000):
        delay = max(delay, (given + len(step)) / sample_rate - answered / target)
        given += len(step)
        answered += len(resampler.resample_chunk(step))
    return delay
