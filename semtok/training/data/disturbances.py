"""Recordings as they come: clean speech made noisy, for what learns to hear the clean speech in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

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
from semtok.errors import ConfigError

_CHANNELS = {"band": 0.4, "telephone": 0.3, "clipped": 0.2, "opus": 0.1}
"""Their shares. Opus costs as much time as all else that is done to a batch."""


@dataclass(frozen=True, kw_only=True)
class Disturbances:
    """What happens to speech.

    Attributes:
        noise: folders or manifests of recordings of noise. Noise in rooms and machines has a colour and a course in
            time that drawn noise lacks; a third of the noise is then of these. Without, half is drawn noise of a random
            colour, half other voices of the corpus.
        noises: the share of disturbed clips with noise.
        snr: lowest and highest level of the speech over the noise, dB. Below 0 dB hardly a word is left to be learnt.
        voices: fewest and most voices at once. One is a second speaker, whom no encoder could know for noise.
        rooms: the share of disturbed clips in a room.
        room_seconds: shortest and longest time in which a room's sound falls by 60 dB: of an office, of a hall.
        direct_to_reverberant: dB, from a voice across the room to one at the microphone.
        channels: the share of disturbed clips through a band limit, a telephone, clipping or Opus.
    """

    noise: list[str] = field(default_factory=list)
    noises: float = 0.8
    snr: tuple[float, float] = (0.0, 25.0)
    voices: tuple[int, int] = (3, 8)
    rooms: float = 0.3
    room_seconds: tuple[float, float] = (0.15, 0.8)
    direct_to_reverberant: tuple[float, float] = (-3.0, 12.0)
    channels: float = 0.3

    def __post_init__(self) -> None:
        self._check_shares("noises", "rooms", "channels")
        decibels, seconds, count = (-20, 100), (0.01, 10), (1, 100)
        bounds = {"snr": decibels, "direct_to_reverberant": decibels, "room_seconds": seconds, "voices": count}
        for name, (least, most) in bounds.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ConfigError(
                    f"disturbances.{name} is the lowest and the highest value, from {least} to {most}, "
                    f"got [{low}, {high}]"
                )

    def _check_shares(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"disturbances.{name} is a share of clips, 0 to 1, got {getattr(self, name)}")


class Voices(Protocol):
    """Speech that may be heard in the background: a list of waveforms, or what reads them when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Waveform: ...


class Disturber:
    """Draws what happens to each clip; the same generator draws the same.

    Args:
        config: what may happen.
        noises: recordings of noise at `sample_rate`.
        voices: clips of speech at `sample_rate`, heard in the background.
        sample_rate: Hz.
    """

    def __init__(self, config: Disturbances, noises: Sequence[Waveform], voices: Voices, sample_rate: int) -> None:
        self._config, self._noises, self._voices, self._sample_rate = config, noises, voices, sample_rate

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
        # every clip that comes here is disturbed
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
            count = generator.integers(*self._config.voices, endpoint=True)
            chosen = generator.choice(len(self._voices), count)
            return babble([self._voices[int(number)] for number in chosen], samples, generator)
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
