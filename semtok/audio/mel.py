"""Mel spectra: the filter banks and their logarithm, for losses, targets, metrics and the speaker encoder."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from semtok.errors import ConfigError


def mel_bank(
    window: int,
    bands: int,
    sample_rate: int,
    *,
    scale: Literal["slaney", "htk"] = "slaney",
    norm: Literal["slaney", "sum"] = "slaney",
) -> Tensor:
    """Triangles from 0 Hz to half the sample rate, float32 [window / 2 + 1 bins, bands], on the CPU.

    Args:
        window: length of the Fourier transform, samples.
        bands: number of triangles, evenly spaced on the mel scale.
        sample_rate: of the waveforms, Hz.
        scale: Slaney's, linear below 1 kHz, that of librosa; or HTK's, 2595 log10(1 + f / 700).
        norm: triangles of area 1 in Hz (Slaney), or whose values add up to 1.

    Raises:
        ConfigError: a band is narrower than a bin, so that it would be empty.
    """
    highest = torch.tensor(sample_rate / 2, dtype=torch.float64)
    mels = torch.linspace(0, float(_to_mel(highest, scale)), bands + 2, dtype=torch.float64)
    low, centre, high = _to_hertz(mels, scale).unfold(0, 3, 1).unbind(1)
    bins = torch.linspace(0, sample_rate / 2, window // 2 + 1, dtype=torch.float64)[:, None]
    triangles = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
    if not triangles.any(dim=0).all():
        raise ConfigError(f"{bands} mel bands are too many for a window of {window} samples at {sample_rate} Hz")
    weights = 2 / (high - low) if norm == "slaney" else 1 / triangles.sum(dim=0)
    return (triangles * weights).float()


def log_mel(magnitudes: Tensor, bank: Tensor, *, floor: float) -> Tensor:
    """Natural logarithm of mel magnitudes, at least `floor`: [..., bins] by [bins, bands] -> [..., bands]."""
    return (magnitudes @ bank).clamp(min=floor).log()


# Slaney's scale: 3 mel are 200 Hz up to 1 kHz, 27 mel are a factor of 6.4 above.
_KNEE_HERTZ, _KNEE_MEL = 1000.0, 15.0
_STEP = math.log(6.4) / 27


def _to_mel(hertz: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 2595 * (1 + hertz / 700).log10()
    above = _KNEE_MEL + (hertz / _KNEE_HERTZ).clamp(min=1).log() / _STEP
    return torch.where(hertz < _KNEE_HERTZ, 3 * hertz / 200, above)


def _to_hertz(mels: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    return torch.where(mels < _KNEE_MEL, 200 * mels / 3, _KNEE_HERTZ * (_STEP * (mels - _KNEE_MEL)).exp())
