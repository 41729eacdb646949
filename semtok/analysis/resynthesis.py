"""How well sets of layers decode to speech again, by the two metrics that need no judge: STOI and log-mel distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from semtok.codebooks.layers import Layer
from semtok.errors import needs_extra
from semtok.evaluation.metrics import SAMPLE_RATE, log_mel_distance, stoi
from semtok.support.intervals import Interval, bootstrap_interval
from semtok.tokenizer import Tokenizer
from semtok.tokens import Tokens
from semtok.vocoder import Vocoder

Waveform = npt.NDArray[np.float32]


class ResynthesisQuality:
    """Decodes some speech from any set of layers and measures it; each set is measured once.

    Args:
        tokenizer, vocoder: of one checkpoint.
        waveforms: float32 [samples] each, at the tokenizer's rate.
    """

    def __init__(self, tokenizer: Tokenizer, vocoder: Vocoder, waveforms: Sequence[Waveform]) -> None:
        self._vocoder = vocoder
        self._tokens = [tokenizer.encode(waveform, layers=vocoder.layers) for waveform in waveforms]
        self._references = [_at_16_khz(waveform, tokenizer.sample_rate) for waveform in waveforms]
        self._speakers: list[torch.Tensor | None] = [None] * len(waveforms)
        if vocoder.network.speaker_encoder is not None:
            self._speakers = [vocoder.speaker(waveform, sample_rate=tokenizer.sample_rate) for waveform in waveforms]
        self._known: dict[tuple[Layer, ...], npt.NDArray[np.float64]] = {}

    def __call__(self, layers: tuple[Layer, ...]) -> tuple[float, float]:
        """STOI and log-mel distance, the means over clips; see `semtok.evaluation.metrics`.

        Raises:
            SemtokError: the extra `study` is not installed.
        """
        means = np.nanmean(self._scores(layers), axis=0)
        return float(means[0]), float(means[1])

    def interval(self, layers: tuple[Layer, ...]) -> Interval:
        """Of the mean STOI, by bootstrap over the clips."""
        scores = self._scores(layers)[:, 0]
        return bootstrap_interval(scores[np.isfinite(scores)])

    def _scores(self, layers: tuple[Layer, ...]) -> npt.NDArray[np.float64]:
        """STOI and log-mel distance of each clip, [clips, 2]."""
        if layers not in self._known:
            with needs_extra("study"):
                clips = zip(self._tokens, self._references, self._speakers, strict=True)
                self._known[layers] = np.array([self._measure(layers, *clip) for clip in clips])
        return self._known[layers]

    def _measure(
        self, layers: tuple[Layer, ...], tokens: Tokens, reference: Waveform, speaker: torch.Tensor | None
    ) -> tuple[float, float]:
        decoded = self._vocoder.decode(tokens, layers=layers, speaker=speaker)[0].cpu().numpy()
        output = _at_16_khz(decoded, self._vocoder.sample_rate)
        length = min(len(reference), len(output))
        pair = reference[:length], output[:length]
        return stoi(*pair), log_mel_distance(*pair)


def _at_16_khz(waveform: Waveform, sample_rate: int) -> Waveform:
    import soxr

    resampled: Waveform = soxr.resample(waveform, sample_rate, SAMPLE_RATE)
    return resampled
