"""What the encoder learns to predict: k-means classes of acoustic features, another view of them for each layer.

HuBERT (Hsu et al., 2021) starts from k-means of MFCCs. Intermediate layers get targets of their own (ILS-SSL; Wang et
al., 2022), here chosen so that the layers' codebooks tell different things: the low layers fine spectral detail and the
harmonics that carry pitch, the middle ones the envelope, the highest the phonetic content.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semtok.audio.mel import log_mel, mel_bank

WINDOW = 400
HALF_HOP = 160
FFT = 512


def _power_frames(waveform: Tensor) -> Tensor:
    """Magnitudes [2 x frames, bins]: two 25 ms windows an encoder frame (receptive field 400, hop 320), 10 ms apart,
    centred on the first and second half of the frame's 20 ms."""
    frames = (len(waveform) - WINDOW) // (2 * HALF_HOP) + 1
    padded = F.pad(waveform[None], (120, 200), mode="reflect")[0]
    windows = padded.unfold(0, WINDOW, HALF_HOP)[: 2 * frames]
    magnitudes: Tensor = torch.fft.rfft(windows * torch.hann_window(WINDOW), FFT).abs()
    return magnitudes


def _log_mel(magnitudes: Tensor) -> Tensor:
    return log_mel(magnitudes, mel_bank(FFT, 80, 16000), floor=1e-3)


def mel(waveform: Tensor) -> Tensor:
    """Log-mel patch [frames, 160] of a normalised waveform [samples]: both halves of each frame, 80 bands."""
    return _log_mel(_power_frames(waveform)).view(-1, 160)


def harmonics(waveform: Tensor) -> Tensor:
    """Log magnitudes below 2 kHz [frames, 128] of a normalised waveform [samples]: the harmonics that carry pitch."""
    return _power_frames(waveform)[:, :64].clamp(min=1e-3).log().reshape(-1, 128)


def mfcc(waveform: Tensor) -> Tensor:
    """13 MFCCs with first and second differences [frames, 39], the start of HuBERT; zero mean, unit variance a clip."""
    envelope = _log_mel(_power_frames(waveform)).view(-1, 2, 80).mean(1)
    bands = torch.arange(80)
    basis = torch.cos(math.pi / 80 * (bands[:, None] + 0.5) * torch.arange(13)) * math.sqrt(2 / 80)
    cepstra = envelope @ basis
    padded = F.pad(cepstra.T[None], (2, 2), mode="replicate")[0].T
    delta = (padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])) / 10
    padded = F.pad(delta.T[None], (2, 2), mode="replicate")[0].T
    second = (padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])) / 10
    features = torch.cat([cepstra, delta, second], dim=1)
    return (features - features.mean(0)) / (features.std(0, correction=0) + 1e-5)


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {"mel": mel, "harmonics": harmonics, "mfcc": mfcc}
DIMENSIONS = {"mel": 160, "harmonics": 128, "mfcc": 39}


@dataclass(frozen=True)
class View:
    """Principal components of a feature, those in `emphasis` (first, last + 1) at full weight, the others at `rest`.

    With `rest` above zero each layer's classes still tell the coarse envelope, so that one layer alone decodes to
    speech, while together they cut the space into finer cells than several codebooks of the same features would.
    """

    mean: Tensor
    directions: Tensor

    @classmethod
    def fit(cls, points: Tensor, emphasis: tuple[int, int], rest: float, components: int) -> View:
        mean = points.mean(0)
        _, eigenvectors = torch.linalg.eigh(torch.cov((points - mean).T))
        directions = eigenvectors.flip(1)[:, :components]
        weights = torch.full((directions.shape[1],), rest)
        weights[emphasis[0] : emphasis[1]] = 1.0
        return cls(mean, directions * weights)

    def __call__(self, points: Tensor) -> Tensor:
        """[points, dim] -> [points, components]."""
        return (points - self.mean) @ self.directions
