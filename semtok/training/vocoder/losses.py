"""Losses of the vocoder: spectral distances and the least-squares adversarial game."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Of a magnitude: about that of the noise of 16-bit audio.
_FLOOR = 1e-3


class MelLoss(nn.Module):
    """Mean absolute difference of log-mel spectra, for waveforms [batch, samples].

    Args:
        sample_rate: of the waveforms, Hz.
        resolutions: window in samples and number of bands, each; hops are a quarter of the window.
    """

    def __init__(self, sample_rate: int, resolutions: Sequence[tuple[int, int]]) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        self.windows = [window for window, _ in resolutions]
        for window, bands in resolutions:
            bank = mel_filter_bank(
                window // 2 + 1, bands, 0.0, sample_rate / 2, sample_rate, norm="slaney", mel_scale="slaney"
            )
            self.register_buffer(f"bank_{window}", torch.tensor(bank, dtype=torch.float32))
            self.register_buffer(f"window_{window}", torch.hann_window(window))

    def log_mel(self, waveforms: Tensor, window: int) -> Tensor:
        """[batch, samples] -> [batch, bands, frames]."""
        magnitude = _magnitude(waveforms, self.get_buffer(f"window_{window}"))
        return (magnitude.transpose(1, 2) @ self.get_buffer(f"bank_{window}")).clamp(min=1e-5).log().transpose(1, 2)

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        losses = [F.l1_loss(self.log_mel(generated, w), self.log_mel(target, w)) for w in self.windows]
        return torch.stack(losses).mean()


class StftLoss(nn.Module):
    """Mean absolute difference of log-magnitude spectra, for waveforms [batch, samples].

    It sees the harmonics that mel bands merge (Parallel WaveGAN; Yamamoto et al., 2020). `windows` are in samples.
    """

    def __init__(self, windows: Sequence[int]) -> None:
        super().__init__()
        self.windows = nn.ParameterList(nn.Parameter(torch.hann_window(w), requires_grad=False) for w in windows)

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        losses = []
        for window in self.windows:
            made, wanted = (_magnitude(w, window).clamp(min=_FLOOR).log() for w in (generated, target))
            losses.append(F.l1_loss(made, wanted))
        return torch.stack(losses).mean()


def _magnitude(waveforms: Tensor, window: Tensor) -> Tensor:
    """Spectrogram [batch, bins, frames] of waveforms [batch, samples], its hop a quarter of the window."""
    size = len(window)
    spectrum = torch.stft(waveforms, size, size // 4, window=window, return_complex=True, pad_mode="reflect")
    # The square root's slope is infinite at zero.
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=1e-10).sqrt()


def discriminator_loss(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Least squares (Mao et al., 2017): scores of real speech towards 1, of generated speech towards 0."""
    return torch.stack(
        [(1 - r.float()).square().mean() + g.float().square().mean() for r, g in zip(real, generated, strict=True)]
    ).mean()


def generator_loss(generated: Sequence[Tensor]) -> Tensor:
    """Least squares: scores of generated speech towards 1."""
    return torch.stack([(1 - score.float()).square().mean() for score in generated]).mean()


def feature_matching_loss(real: Sequence[Tensor], generated: Sequence[Tensor], *, relative: bool) -> Tensor:
    """Mean absolute difference of the discriminators' inner maps, each may be `relative` to the real one's size."""
    losses = []
    for wanted, made in zip(real, generated, strict=True):
        difference = F.l1_loss(made.float(), wanted.float())
        losses.append(difference / wanted.float().abs().mean().clamp(min=1e-3) if relative else difference)
    return torch.stack(losses).mean()
