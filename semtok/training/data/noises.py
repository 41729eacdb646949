"""Recordings of noise that training adds to speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semtok.audio.disturbances import Waveform
from semtok.errors import AudioError, ConfigError
from semtok.speech.reading import Data, Speech


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
