"""Recordings as they come: clean crops made noisy, for an encoder that learns what the clean ones hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, from_numpy

from semtok.audio.disturbances import (
    Waveform,
    add_noise,
    babble,
    band_limit,
    clip_peaks,
    colored_noise,
    opus,
    reverberate,
    telephone,
)
from semtok.training.data.corpus import Corpus
from semtok.training.encoder.config import DisturbanceConfig

_CHANNELS = {"band": 0.4, "telephone": 0.3, "clipped": 0.2, "opus": 0.1}
"""Their shares. Opus costs as much time as all else that is done to a batch."""


class Disturber:
    """Draws what happens to each crop; the same generator draws the same.

    Args:
        clips: those of the corpus that voices in the background are from.
        noises: recordings of noise at the corpus's rate.
    """

    def __init__(
        self,
        config: DisturbanceConfig,
        corpus: Corpus,
        clips: np.ndarray,
        noises: Sequence[Waveform],
        sample_rate: int,
    ) -> None:
        self._config, self._corpus, self._clips, self._noises = config, corpus, clips, noises
        self._sample_rate = sample_rate

    @property
    def share(self) -> float:
        """Of all crops, those to disturb."""
        return self._config.clips

    def disturb(self, speech: Tensor, generator: np.random.Generator) -> Tensor:
        """Speech [samples] in a room, with noise and over a channel, or some of these; [samples]."""
        config = self._config
        waveform: Waveform = speech.numpy()
        in_room = generator.random() < config.rooms
        over_channel = generator.random() < config.channels
        if in_room:
            seconds = generator.uniform(*config.room_seconds)
            ratio = generator.uniform(*config.direct_to_reverberant)
            waveform = reverberate(waveform, seconds, ratio, self._sample_rate, generator)
        # every crop that comes here is disturbed, so that `clips` tells how many are
        if generator.random() < config.noises or not (in_room or over_channel):
            noise = self._noise(len(waveform), generator)
            waveform = add_noise(waveform, noise, generator.uniform(*config.snr), generator)
        if over_channel:
            waveform = self._channel(waveform, generator)
        return from_numpy(waveform)

    def _noise(self, samples: int, generator: np.random.Generator) -> Waveform:
        kind = generator.integers(3 if self._noises else 2)
        if kind == 0:
            return colored_noise(samples, generator.uniform(0, 1), generator)
        if kind == 1:
            clips = generator.choice(self._clips, generator.integers(*self._config.voices, endpoint=True))
            return babble([self._corpus.waveform(clip).numpy() for clip in clips], samples, generator)
        return self._noises[int(generator.integers(len(self._noises)))]

    def _channel(self, waveform: Waveform, generator: np.random.Generator) -> Waveform:
        kind = generator.choice(list(_CHANNELS), p=list(_CHANNELS.values()))
        if kind == "band":
            lowest, highest = generator.uniform(0, 300), generator.uniform(3000, 7500)
            return band_limit(waveform, lowest, highest, self._sample_rate)
        if kind == "telephone":
            return telephone(waveform, self._sample_rate)
        if kind == "clipped":
            return clip_peaks(waveform, generator.uniform(0.005, 0.1))
        return opus(waveform, generator.uniform(8, 32), self._sample_rate)
