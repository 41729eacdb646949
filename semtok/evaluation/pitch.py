"""The fundamental frequency (F0) of speech, by which a listener hears the melody; and how well it came back.

F0 is estimated by probabilistic YIN (Mauch and Dixon, "pYIN: A Fundamental Frequency Estimator Using Probabilistic
Threshold Distributions", 2014) as librosa has it, which installs without a compiler and is faster than Harvest, unlike
pyworld, and brings no network, unlike torchcrepe.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pitch: TypeAlias = npt.NDArray[np.float64]
"""[frames], Hz every 10 ms; NaN where the speech is unvoiced."""

_LOWEST, _HIGHEST = 65.0, 500.0
_SAMPLE_RATE, _FRAME, _HOP = 16000, 1024, 160
# Bins of a fifth of a semitone: the time of librosa's tenth halves, F0 stays within 1 %.
_RESOLUTION = 0.2
# A correlation of fewer frames says nothing.
_FEWEST = 10


def track_pitch(waveform: npt.NDArray[np.float32]) -> Pitch:
    """The F0 of a waveform [samples] at 16 kHz, between 65 and 500 Hz; NaN throughout for silence."""
    import librosa

    if not waveform.any():
        return np.full(1 + len(waveform) // _HOP, np.nan)
    frequencies, _, _ = librosa.pyin(
        waveform,
        fmin=_LOWEST,
        fmax=_HIGHEST,
        sr=_SAMPLE_RATE,
        frame_length=_FRAME,
        hop_length=_HOP,
        resolution=_RESOLUTION,
    )
    pitch: Pitch = frequencies
    return pitch


def f0_correlation(reference: Pitch, output: Pitch) -> float:
    """Pearson's correlation of F0 in the frames that are voiced in both, -1 to 1, higher is better.

    NaN with fewer than ten of them, or if F0 is constant.
    """
    voiced = np.isfinite(reference) & np.isfinite(output)
    if voiced.sum() < _FEWEST:
        return float("nan")
    first, second = reference[voiced], output[voiced]
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def voicing_error(reference: Pitch, output: Pitch) -> float:
    """Share of the frames that are voiced in one and unvoiced in the other, 0 to 1, lower is better.

    Source: Nakatani et al., "A method for fundamental frequency estimation and voicing decision", 2008.
    """
    return float((np.isfinite(reference) != np.isfinite(output)).mean())
