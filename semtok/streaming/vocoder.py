"""`VocoderStream`: tokens -> speech while they arrive."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from semtok.errors import TokensError
from semtok.networks.decoding import decode
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.streaming.stream import Stream, join_tokens
from semtok.tokens import Tokens, take_tokens


class VocoderStream(Stream):
    """Speech of one utterance's tokens as they arrive: made by `Vocoder.stream`, ended by `flush`.

    A frame is answered once the look-ahead after it has arrived, by default all frames that its samples depend on.
    Those before it are kept, so the waveform is that of `Vocoder.decode` however the tokens are cut into pushes. Each
    push costs a decoding of its frames, of those kept before them and of the look-ahead: it pays to push several frames
    at a time.

    Each stream has its own state: several can share a vocoder.
    """

    def __init__(
        self,
        network: ScalableVocoder,
        fingerprint: str,
        *,
        layers: Sequence[int] | None,
        speaker: Tensor | None,
        look_ahead_seconds: float | None,
        sample_rate: int,
    ) -> None:
        """For the arguments see `Vocoder.stream`; `speaker` is [1, dim]."""
        if look_ahead_seconds is not None and not 0 <= look_ahead_seconds < math.inf:
            raise TokensError(f"look_ahead_seconds must be 0 or more and finite, or None, got {look_ahead_seconds!r}")
        self._network = network
        self._fingerprint = fingerprint
        self._layers = layers
        self._speaker = speaker
        self._hop_length = network.hop_length
        self._sample_rate = sample_rate
        self._before, self._after = network.generator.receptive_frames
        if look_ahead_seconds is not None:
            self._after = min(self._after, round(look_ahead_seconds * sample_rate / self._hop_length))
        self._held: Tokens | None = None
        self._kept = 0  # how many of the frames held are answered already

    @property
    def latency_seconds(self) -> float:
        """From a frame's arrival to its samples, computing aside: the look-ahead, in whole frames."""
        return self._after * self._hop_length / self._sample_rate

    def push(self, tokens: Tokens) -> Tensor:
        """Takes the frames that have arrived, of any number, and answers the samples that are final by them.

        Args:
            tokens: of one utterance, of this vocoder's tokenizer; those of every push have the same layers.

        Returns:
            float32 [samples] in [-1, 1], `hop_length` a frame, possibly none.

        Raises:
            TokensError: no tokens, those of another tokenizer, several utterances, or other layers than before, and
                then nothing of them was taken; a stream that was flushed or closed.
            LayerError: a layer that the tokens or the vocoder lack.
        """
        self._check_open(TokensError)
        codebooks = self._network.codebooks
        taken = take_tokens(tokens, codebooks, self._fingerprint, owner="this vocoder", layers=self._layers)
        taken = taken.to(next(self._network.parameters()).device)
        if len(taken) != 1:
            raise TokensError(
                f"a stream takes the tokens of one utterance, got a batch of {len(taken)}: open a stream for each"
            )
        self._held = taken if self._held is None else join_tokens([self._held, taken])
        return self._answer(max(int(self._held.lengths) - self._after, self._kept))

    def flush(self) -> Tensor:
        """Ends the stream and answers the samples that are left; `TokensError` if it was flushed or closed before."""
        self._check_open(TokensError)
        waveform = torch.zeros(0) if self._held is None else self._answer(int(self._held.lengths))
        self.close()
        return waveform

    def _forget(self) -> None:
        self._held = None

    def _answer(self, stop: int) -> Tensor:
        """Samples of the frames held up to `stop` that are not answered yet; keeps those that later ones depend on."""
        assert self._held is not None
        if stop == self._kept:
            return torch.zeros(0, device=self._held.codes.device)
        held = self._held
        decoded = decode(self._network, held.codes, held.lengths, held.layers, self._speaker)
        waveform = decoded[0, self._kept * self._hop_length : stop * self._hop_length]
        first = max(stop - self._before, 0)
        self._held, self._kept = self._held.cut(first, int(self._held.lengths)), stop - first
        return waveform
