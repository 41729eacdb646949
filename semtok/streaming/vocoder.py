"""`VocoderStream`: tokens -> speech while they arrive."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from semtok.codebooks.layers import Layer
from semtok.errors import TokensError
from semtok.networks.decoding import decode
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.streaming.stream import Stream, join_tokens
from semtok.tokens import Tokens, take_tokens


class VocoderStream(Stream):
    """Speech of one utterance whose tokens arrive push by push. `Vocoder.stream` opens a stream, `flush` ends it.

    The samples of a frame are answered once the look-ahead after the frame has arrived. By default the look-ahead is
    all frames that the samples depend on, and the stream holds all frames before the next answer that its samples
    depend on. The waveform is then that of `Vocoder.decode`, however the tokens are cut into pushes. Each push decodes
    its own frames, the frames held before them and the look-ahead, so fewer and longer pushes cost less.

    Several streams can share a vocoder, as each stream has its own state.
    """

    def __init__(
        self,
        network: ScalableVocoder,
        fingerprint: str,
        *,
        layers: Sequence[Layer] | None,
        speaker: Tensor | None,
        look_ahead_seconds: float | None,
        sample_rate: int,
    ) -> None:
        """Arguments as in `Vocoder.stream`, but for `speaker`, which is [1, dim]."""
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
        self._answered = 0  # frames of `_held` whose samples were answered

    @property
    def latency_seconds(self) -> float:
        """Time from the arrival of a frame to its samples, without the time of computing: the look-ahead."""
        return self._after * self._hop_length / self._sample_rate

    def push(self, tokens: Tokens) -> Tensor:
        """The next frames of the utterance -> the samples of all frames whose look-ahead is complete by now.

        Args:
            tokens: of one utterance and this vocoder's tokenizer, with any number of frames. The tokens of all pushes
                have the same layers.

        Returns:
            float32 [samples] in [-1, 1], `hop_length` for each frame, possibly none.

        Raises:
            TokensError: no tokens, tokens of another tokenizer, of several utterances or of other layers than before,
                none of which the stream then uses; a stream that was flushed or closed.
            LayerError: a layer that the tokens or the vocoder lack.
        """
        self._check_open(TokensError)
        codebooks = self._network.codebooks
        tokens = take_tokens(tokens, codebooks, self._fingerprint, owner="this vocoder", layers=self._layers)
        tokens = tokens.to(next(self._network.parameters()).device)
        if len(tokens) != 1:
            raise TokensError(
                f"a stream takes the tokens of one utterance, got a batch of {len(tokens)}: open a stream for each"
            )
        self._held = tokens if self._held is None else join_tokens([self._held, tokens])
        return self._answer(max(int(self._held.lengths) - self._after, self._answered))

    def flush(self) -> Tensor:
        """Ends the stream and gives the remaining samples; `TokensError` if the stream has ended before."""
        self._check_open(TokensError)
        waveform = torch.zeros(0) if self._held is None else self._answer(int(self._held.lengths))
        self.close()
        return waveform

    def _forget(self) -> None:
        self._held = None

    def _answer(self, stop: int) -> Tensor:
        """The new samples of held frames before `stop`; drops held frames that no later samples depend on."""
        assert self._held is not None
        if stop == self._answered:
            return torch.zeros(0, device=self._held.codes.device)
        held = self._held
        decoded = decode(self._network, held.codes, held.lengths, held.layers, self._speaker)
        waveform = decoded[0, self._answered * self._hop_length : stop * self._hop_length]
        first = max(stop - self._before, 0)
        self._held, self._answered = self._held.cut(first, int(self._held.lengths)), stop - first
        return waveform
