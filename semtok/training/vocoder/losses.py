"""Losses of the vocoder: spectral distances and the least-squares adversarial game."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.audio.mel import log_mel, mel_bank

# Of a magnitude: about that of the noise of 16-bit audio.
_FLOOR = 1e-3


class Spectra:
    """Magnitude spectrograms of waveforms [batch, samples], each computed when it is first asked for."""

    def __init__(self, waveforms: Tensor) -> None:
        self._waveforms = waveforms
        self._magnitudes: dict[int, Tensor] = {}

    def magnitude(self, window: int) -> Tensor:
        """[batch, frames, bins] by a Hann window of so many samples, its hop a quarter of that."""
        if window not in self._magnitudes:
            shape = torch.hann_window(window, device=self._waveforms.device)
            spectrum = torch.stft(self._waveforms, window, window // 4, window=shape, return_complex=True)
            # The square root's slope is infinite at zero.
            power = spectrum.real.square() + spectrum.imag.square()
            self._magnitudes[window] = power.clamp(min=1e-10).sqrt().transpose(1, 2)
        return self._magnitudes[window]


class MelLoss(nn.Module):
    """Mean absolute difference of log-mel spectra.

    Args:
        sample_rate: of the waveforms, Hz.
        resolutions: window in samples and number of bands, each.
    """

    def __init__(self, sample_rate: int, resolutions: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.windows = [window for window, _ in resolutions]
        for window, bands in resolutions:
            self.register_buffer(f"bank_{window}", mel_bank(window, bands, sample_rate))

    def log_mel(self, spectra: Spectra, window: int) -> Tensor:
        """[batch, frames, bands]."""
        return log_mel(spectra.magnitude(window), self.get_buffer(f"bank_{window}"), floor=1e-5)

    def forward(self, generated: Spectra, target: Spectra) -> Tensor:
        losses = [F.l1_loss(self.log_mel(generated, w), self.log_mel(target, w)) for w in self.windows]
        return torch.stack(losses).mean()


class StftLoss(nn.Module):
    """Mean absolute difference of log-magnitude spectra.

    It sees the harmonics that mel bands merge (Parallel WaveGAN; Yamamoto et al., 2020). `windows` are in samples.
    """

    def __init__(self, windows: Sequence[int]) -> None:
        super().__init__()
        self.windows = tuple(windows)

    def forward(self, generated: Spectra, target: Spectra) -> Tensor:
        losses = []
        for window in self.windows:
            difference = generated.magnitude(window).clamp(min=_FLOOR).log()
            difference = difference - target.magnitude(window).clamp(min=_FLOOR).log()
            losses.append(difference.abs().mean())
        return torch.stack(losses).mean()


def discriminator_loss(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Least squares (Mao et al., 2017): scores of real speech towards 1, of generated speech towards 0."""
    return torch.stack(
        [(1 - r.float()).square().mean() + g.float().square().mean() for r, g in zip(real, generated, strict=True)]
    ).mean()


def generator_loss(generated: Sequence[Tensor]) -> Tensor:
    """Least squares: scores of generated speech towards 1."""
    return torch.stack([(1 - score.float()).square().mean() for score in generated]).mean()


def feature_matching_loss(real: Sequence[Tensor], generated: Sequence[Tensor], *, relative: bool) -> Tensor:
    """Mean absolute difference of the discriminators' inner maps, over the size of the real ones if `relative`."""
    losses = []
    for target, output in zip(real, generated, strict=True):
        difference = F.l1_loss(output.float(), target.float())
        losses.append(difference / target.float().abs().mean().clamp(min=1e-3) if relative else difference)
    return torch.stack(losses).mean()
