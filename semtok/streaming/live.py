"""`LiveSpeech`: speech -> tokens -> speech, as a line with a constant delay."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semtok.audio.io import AudioArray
from semtok.errors import AudioError
from semtok.streaming.stream import Stream
from semtok.streaming.tokenizer import TokenizerStream
from semtok.streaming.vocoder import VocoderStream


class LiveSpeech(Stream):
    """Speech that goes through tokens while it is spoken.

    What comes out is what goes in, `delay_seconds` later: a push is answered by as many seconds as it has, silence
    first, so that whoever plays the answers one after the other hears no gap. `flush` gives the rest.

    Args:
        tokens, speech: new streams of a tokenizer and its vocoder, which the line ends with itself.
        rate_in: of the pushed samples, Hz, as `tokens` takes them.
        rate_out: of the answers, Hz, as `speech` gives them.
    """

    def __init__(self, tokens: TokenizerStream, speech: VocoderStream, *, rate_in: int, rate_out: int) -> None:
        self._tokens, self._speech = tokens, speech
        self._rate_in, self._rate_out = rate_in, rate_out
        self._waiting = torch.zeros(math.ceil((tokens.latency_seconds + speech.latency_seconds) * rate_out))
        self.delay_seconds = len(self._waiting) / rate_out
        self._arrived = self._answered = 0

    def push(self, samples: AudioArray) -> Tensor:
        """The next samples [samples] of speech -> float32 [samples] to play now, on the CPU.

        Raises:
            AudioError: as `TokenizerStream.push`.
        """
        self._check_open(AudioError)
        tokens = self._tokens.push(samples)
        if int(tokens.lengths) > 0:
            self._waiting = torch.cat([self._waiting, self._speech.push(tokens).cpu()])
        self._arrived += len(samples)
        due = self._arrived * self._rate_out // self._rate_in - self._answered
        answer, self._waiting = self._waiting[:due], self._waiting[due:]
        self._answered += len(answer)
        return answer

    def flush(self) -> Tensor:
        """Ends the line and gives what is still in it; `AudioError` if it has ended before."""
        self._check_open(AudioError)
        tokens = self._tokens.flush()
        rest = [self._waiting, self._speech.push(tokens).cpu(), self._speech.flush().cpu()]
        self.close()
        return torch.cat(rest)

    def _forget(self) -> None:
        self._waiting = torch.zeros(0)
        self._tokens.close()
        self._speech.close()
