"""What training adds to speech: recordings of noise, and the voices of other clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from semtok.audio.disturbances import Waveform
from semtok.errors import AudioError, ConfigError
from semtok.speech.reading import Data, Speech
from semtok.training.data.disturbances import Disturbances, Disturber

# In memory; of some hours of speech enough that no two babbles are alike.
_VOICES = 50


def load_noises(
    noise: Sequence[Data],
    *,
    data: Sequence[Data],
    sample_rate: int,
    leave_out_splits: Sequence[str] = (),
) -> list[Waveform]:
    """Recordings of noise at `sample_rate`, whole, in memory.

    Args:
        noise: sources of noise.
        data: the speech. None of it, of the splits that are left out neither, may be among the noise.
        leave_out_splits: of the noise: recordings that noise is measured with.

    Raises:
        AudioError: a source that is missing or names no audio, or a recording that cannot be read or is silent.
        ConfigError: a recording is a clip of `data`.
    """
    if not noise:
        return []
    recordings = Speech(noise, leave_out_splits=leave_out_splits)
    if not recordings.paths:
        raise AudioError(f"no noise in {', '.join(map(str, noise))} but in the splits left out: {leave_out_splits}")
    speech = {Path(path).resolve() for path in Speech(data).paths}
    if both := [path for path in recordings.paths if Path(path).resolve() in speech]:
        raise ConfigError(
            f"{len(both)} recordings of noise are clips of data, such as {both[0]}: noise must hold no speech that is "
            "learnt or tested; give a folder or a manifest of noise alone"
        )
    noises = []
    for clip, waveform in recordings.read(sample_rate):
        if isinstance(waveform, AudioError):
            raise AudioError(f"the noise {clip.path} cannot be used: {waveform}") from waveform
        if not waveform.any():
            raise AudioError(f"the noise {clip.path} cannot be used: it is silent")
        noises.append(waveform.numpy())
    return noises


@dataclass(frozen=True)
class Background:
    """What may be heard behind the clips of some sources.

    Args:
        disturbances: what happens to clips.
        data: the sources of the clips, some of which are voices in the background.
        leave_out_splits: of the clips: those that are no voices.
        sample_rate: Hz.
    """

    disturbances: Disturbances
    data: Sequence[Data]
    leave_out_splits: Sequence[str]
    sample_rate: int

    @property
    def identity(self) -> Any:
        """As JSON; another one is other noise, voices, or disturbances."""
        noise = Speech(self.disturbances.noise).stamps
        return dataclasses.asdict(self.disturbances) | {
            "noise": noise,
            "voices": [voice.stamps for voice in self._voices],
        }

    def load(self) -> Disturber:
        """Reads all recordings.

        Raises:
            AudioError, ConfigError: as `load_noises`; none of the voices can be read.
        """
        noises = load_noises(self.disturbances.noise, data=self.data, sample_rate=self.sample_rate)
        voices = []
        for voice in self._voices:
            _, waveform = next(voice.read(self.sample_rate))
            if isinstance(waveform, Tensor) and waveform.any():
                voices.append(waveform.numpy())
        if not voices:
            raise AudioError(f"none of {len(self._voices)} clips of {', '.join(map(str, self.data))} can be read")
        return Disturber(self.disturbances, noises, voices, self.sample_rate)

    @cached_property
    def _voices(self) -> list[Speech]:
        """Clips, or archives of which the first clip is a voice, spread over all."""
        clips = Speech(self.data, leave_out_splits=self.leave_out_splits).parts(1)
        return clips[:: max(1, len(clips) // _VOICES)]
