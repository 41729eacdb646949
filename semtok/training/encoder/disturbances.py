"""Recordings as they come: clean crops made noisy, for an encoder that learns what the clean ones hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
from semtok.errors import AudioError, ConfigError
from semtok.training.config import Dataset
from semtok.training.data.corpus import Corpus
from semtok.training.data.sources import find_rows, read_clips
from semtok.training.encoder.config import DisturbanceConfig, EncoderConfig


def load_noises(config: EncoderConfig, sample_rate: int) -> list[Waveform]:
    """The recordings of the config's `disturbances.noise`, float32 [samples] each.

    Raises:
        AudioError: a folder that is missing or names no audio, a recording that cannot be read or is silent.
        ConfigError: a recording that is a clip of `data`, of the splits that are left out too.
    """
    if config.disturbances is None or not config.disturbances.noise:
        return []
    rows = find_rows(config.disturbances.noise, config.leave_out_splits)
    paths = [Path(row["path"]) for row in rows if not isinstance(row, Dataset)]
    speech = {Path(row["path"]).resolve() for row in find_rows(config.data) if not isinstance(row, Dataset)}
    if both := [path for path in paths if path.resolve() in speech]:
        raise ConfigError(
            f"{len(both)} recordings of disturbances.noise are clips of data, such as {both[0]}: noise must hold no "
            "speech that is learnt or tested; give a folder or a manifest of noises alone"
        )
    if not paths:
        raise AudioError(
            f"no noise in {', '.join(config.disturbances.noise)}: all of it is of the splits that are left out, "
            f"{', '.join(config.leave_out_splits)}"
        )
    noises = []
    for name, waveform in read_clips(paths, sample_rate=sample_rate):
        if isinstance(waveform, AudioError):
            raise AudioError(f"the noise {name} cannot be used: {waveform}") from waveform
        if not len(waveform) or not waveform.any():
            raise AudioError(f"the noise {name} cannot be used: it is silent")
        noises.append(waveform.numpy())
    return noises


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

    def disturb(self, speech: Tensor, generator: np.random.Generator) -> Tensor:
        """Speech [samples] in a room, with noise and over a channel, or some of these; [samples]."""
        config = self._config
        waveform: Waveform = speech.numpy()
        in_room = generator.random() < config.rooms
        over_channel = generator.random() < config.channels
        # What is to be disturbed is, so that `clips` tells how many are.
        if in_room:
            seconds = generator.uniform(*config.room_seconds)
            ratio = generator.uniform(*config.direct_to_reverberant)
            waveform = reverberate(waveform, seconds, ratio, self._sample_rate, generator)
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
        return self._noises[generator.integers(len(self._noises))]

    def _channel(self, waveform: Waveform, generator: np.random.Generator) -> Waveform:
        kind = generator.choice(["band", "telephone", "clipped", "opus"], p=_CHANNELS)
        if kind == "band":
            lowest, highest = generator.uniform(0, 300), generator.uniform(3000, 7500)
            return band_limit(waveform, lowest, highest, self._sample_rate)
        if kind == "telephone":
            return telephone(waveform, self._sample_rate)
        if kind == "clipped":
            return clip_peaks(waveform, generator.uniform(0.005, 0.1))
        return opus(waveform, generator.uniform(8, 32), self._sample_rate)


_CHANNELS = (0.4, 0.3, 0.2, 0.1)
"""Shares of the channels: Opus costs as much time as all else that is done to a batch."""
