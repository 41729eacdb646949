"""What happens to speech on its way to a recording: noise, other voices, rooms, narrow channels and codecs.

Every function keeps the length of the speech and where each sample lies, so that what is known of the clean speech at a
frame, such as a teacher's features, is right for the disturbed speech at the same frame.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Waveform: TypeAlias = npt.NDArray[np.float32]
"""float32 [samples]."""

_TELEPHONE_RATE = 8000
_MU = 255


def add_noise(speech: Waveform, noise: Waveform, snr: float, generator: np.random.Generator) -> Waveform:
    """Speech with a random piece of a noise, repeated if need be, `snr` dB below it: mean power over mean power."""
    start = generator.integers(len(noise))
    piece = np.resize(np.roll(noise, -start), len(speech)).astype(np.float32)
    level = np.sqrt(np.mean(speech**2) / max(float(np.mean(piece**2)), 1e-10)) * 10 ** (-snr / 20)
    mixed: Waveform = (speech + level * piece).astype(np.float32)
    return mixed


def colored_noise(samples: int, slope: float, generator: np.random.Generator) -> Waveform:
    """Gaussian noise, its amplitude falling as frequency ** -slope: 0 is white, .5 pink, 1 brown."""
    spectrum = np.fft.rfft(generator.standard_normal(samples, dtype=np.float32))
    tilt = np.arange(1, len(spectrum) + 1, dtype=np.float32) ** np.float32(-slope)
    noise: Waveform = np.fft.irfft(spectrum * tilt, samples).astype(np.float32)
    return noise


def babble(voices: Sequence[Waveform], samples: int, generator: np.random.Generator) -> Waveform:
    """All voices at once, equally loud, each from a random sample on and repeated if need be."""
    total = np.zeros(samples, np.float32)
    for voice in voices:
        piece = np.resize(np.roll(voice, -generator.integers(len(voice))), samples)
        total += piece / max(float(np.sqrt(np.mean(voice**2))), 1e-5)
    return total


def reverberate(
    speech: Waveform, seconds: float, direct_to_reverberant: float, sample_rate: int, generator: np.random.Generator
) -> Waveform:
    """Speech in a room: the direct sound, then noise that falls by 60 dB in `seconds` (Polack, 1988).

    Args:
        direct_to_reverberant: energy of the direct sound by that of all that follows, dB.
    """
    times = np.arange(1, int(seconds * sample_rate)) / sample_rate
    tail = generator.standard_normal(len(times)) * np.exp(-np.log(1000) * times / seconds)
    tail *= 10 ** (-direct_to_reverberant / 20) / np.sqrt(np.sum(tail**2))
    response = np.concatenate([[1], tail]).astype(np.float32)
    size = 1 << (len(speech) + len(response) - 2).bit_length()
    spectrum = np.fft.rfft(speech, size) * np.fft.rfft(response, size)
    reverberant: Waveform = np.fft.irfft(spectrum, size)[: len(speech)].astype(np.float32)
    return reverberant


def band_limit(speech: Waveform, lowest: float, highest: float, sample_rate: int) -> Waveform:
    """Speech between two frequencies in Hz, without a phase: edges half a cosine wide, a tenth of their frequency."""
    frequencies = np.fft.rfftfreq(len(speech), 1 / sample_rate)
    gains = _edge(frequencies, highest) * (1 - _edge(frequencies, lowest) if lowest > 0 else 1)
    limited: Waveform = np.fft.irfft(np.fft.rfft(speech) * gains, len(speech)).astype(np.float32)
    return limited


def _edge(frequencies: npt.NDArray[np.floating], cutoff: float) -> npt.NDArray[np.floating]:
    """1 below a cutoff, 0 above."""
    place = np.clip((frequencies / cutoff - 0.95) / 0.1, 0, 1)
    edge: npt.NDArray[np.floating] = 0.5 + 0.5 * np.cos(np.pi * place)
    return edge


def narrow_band(speech: Waveform, sample_rate: int) -> Waveform:
    """Speech that was sampled at 8 kHz in between."""
    import soxr

    narrow = soxr.resample(speech, sample_rate, _TELEPHONE_RATE)
    return _as_long(soxr.resample(narrow, _TELEPHONE_RATE, sample_rate), len(speech))


def telephone(speech: Waveform, sample_rate: int) -> Waveform:
    """Speech over a telephone: 300 to 3,400 Hz, 8 kHz, mu-law in 8 bits (ITU-T G.711's curve)."""
    import soxr

    narrow = soxr.resample(band_limit(speech, 300, 3400, sample_rate), sample_rate, _TELEPHONE_RATE)
    peak = max(float(np.abs(narrow).max(initial=0)), 1e-5)
    curve = np.sign(narrow) * np.log1p(_MU * np.abs(narrow / peak)) / np.log1p(_MU)
    steps = np.round(curve * 127) / 127
    decoded = peak * np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU
    return _as_long(soxr.resample(decoded.astype(np.float32), _TELEPHONE_RATE, sample_rate), len(speech))


def opus(speech: Waveform, kilobits: float, sample_rate: int) -> Waveform:
    """Speech through Opus at about so many kbit/s, 6 to 256, at 8, 12, 16, 24 or 48 kHz."""
    import soundfile

    peak = max(float(np.abs(speech).max(initial=0)), 1e-5)
    level = 1 - (kilobits - 6) / 250  # libsndfile: from 256 kbit/s at 0 to 6 at 1
    stream = io.BytesIO()
    with soundfile.SoundFile(
        stream, "w", sample_rate, 1, format="OGG", subtype="OPUS", compression_level=level
    ) as file:
        file.write(speech * (0.5 / peak))
    stream.seek(0)
    decoded, _ = soundfile.read(stream, dtype="float32")
    return _as_long(decoded * (2 * peak), len(speech))


def clip_peaks(speech: Waveform, share: float) -> Waveform:
    """Speech recorded too loud: the loudest `share` of samples are cut to one level."""
    limit = np.quantile(np.abs(speech), 1 - share)
    clipped: Waveform = np.clip(speech, -limit, limit)
    return clipped


def _as_long(waveform: Waveform, samples: int) -> Waveform:
    """A sample or two less at the end, or zeros: resampling rounds lengths."""
    padded: Waveform = np.pad(waveform[:samples], (0, max(0, samples - len(waveform)))).astype(np.float32)
    return padded
