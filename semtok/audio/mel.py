"""Mel spectra: the filter banks and their logarithm, for losses, targets, metrics and the speaker encoder."""

from __future__ import annotations

import functools
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
    edges = _to_hertz(mels, scale)
    triangles = _triangles(edges, torch.linspace(0, sample_rate / 2, window // 2 + 1, dtype=torch.float64))
    if not triangles.any(dim=0).all():
        raise ConfigError(f"{bands} mel bands are too many for a window of {window} samples at {sample_rate} Hz")
    weights = 2 / (edges[2:] - edges[:-2]) if norm == "slaney" else 1 / triangles.sum(dim=0)
    return (triangles * weights).float()


def log_mel(magnitudes: Tensor, bank: Tensor, *, floor: float) -> Tensor:
    """Natural logarithm of mel magnitudes, at least `floor`: [..., bins] by [bins, bands] -> [..., bands]."""
    return (magnitudes @ bank).clamp(min=floor).log()


@torch.no_grad()
def kaldi_log_mel(samples: Tensor) -> Tensor:
    """Log-mel energies as Kaldi computes them: 80 bands of 20 Hz to 8 kHz, every 10 ms of windows of 25 ms.

    Args:
        samples: [samples], at least the 400 of a window, at 16 kHz on the CPU.

    Returns:
        float32 [windows, 80].
    """
    frames = (samples.double() * 2**15).unfold(0, _KALDI_WINDOW, _KALDI_HOP)  # the range of 16-bit samples
    frames = frames - frames.mean(dim=1, keepdim=True)
    emphasised = frames - 0.97 * torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    window = torch.hann_window(_KALDI_WINDOW, periodic=False, dtype=torch.float64) ** 0.85
    power = torch.fft.rfft(emphasised * window, n=_KALDI_FFT).abs().square()
    energies: Tensor = power @ _kaldi_bank()
    return energies.clamp(min=2**-23).log().float()


_KALDI_WINDOW, _KALDI_HOP, _KALDI_FFT = 400, 160, 512


@functools.cache
def _kaldi_bank() -> Tensor:
    """Triangles on the mel scale itself, float64 [257 bins, 80 bands]."""
    lowest, highest = _to_mel(torch.tensor([20.0, 8000.0], dtype=torch.float64), "htk").tolist()
    hertz = torch.linspace(0, 8000, _KALDI_FFT // 2 + 1, dtype=torch.float64)
    return _triangles(torch.linspace(lowest, highest, 82, dtype=torch.float64), _to_mel(hertz, "htk"))


def _triangles(edges: Tensor, bins: Tensor) -> Tensor:
    """Triangles over three edges in a row each, float64 [bins, len(edges) - 2]."""
    low, centre, high = edges.unfold(0, 3, 1).unbind(1)
    return torch.minimum((bins[:, None] - low) / (centre - low), (high - bins[:, None]) / (high - centre)).clamp(min=0)


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
