"""Losses of the vocoder: spectral distances, and the game with the discriminators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.audio.mel import log_mel, mel_bank

# Of a magnitude: about that of the noise of 16-bit audio.
_FLOOR = 1e-3

# Of PhaseAug's delays, in samples, drawn for bands of 160 Hz at 16 kHz: about what its filtered noise comes to.
_DELAY_DEVIATION, _MOST_DELAY, _DELAY_BANDS = 0.8, 2.0, 51


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


def discriminator_loss(real: Sequence[Tensor], generated: Sequence[Tensor], *, relativistic: bool) -> Tensor:
    """Least squares (Mao et al., 2017): scores of real speech towards 1, of generated speech towards 0.

    `relativistic`: each score of real speech above that of the same place of the speech generated from its tokens
    (relativistic pairs, Jolicoeur-Martineau, 2019; of vocoders RAF, arXiv:2603.11678).
    """
    pairs = [(r.float(), g.float()) for r, g in zip(real, generated, strict=True)]
    if relativistic:
        return torch.stack([F.softplus(g - r).mean() for r, g in pairs]).mean()
    return torch.stack([(1 - r).square().mean() + g.square().mean() for r, g in pairs]).mean()


def generator_loss(real: Sequence[Tensor], generated: Sequence[Tensor], *, relativistic: bool) -> Tensor:
    """The other side of `discriminator_loss`: scores of generated speech towards 1, or above those of real speech."""
    if relativistic:
        return discriminator_loss(generated, real, relativistic=True)
    return torch.stack([(1 - score.float()).square().mean() for score in generated]).mean()


def feature_matching_loss(
    real: Sequence[Sequence[Tensor]], generated: Sequence[Sequence[Tensor]], counts: Sequence[bool], *, relative: bool
) -> Tensor:
    """Mean absolute difference of the discriminators' inner maps, over the size of the real ones if `relative`.

    Of `real` and `generated` each entry is a discriminator's; where `counts` is False it adds 0 to the mean.
    """
    losses = []
    for targets, outputs, count in zip(real, generated, counts, strict=True):
        for target, output in zip(targets, outputs, strict=True):
            difference = F.l1_loss(output.float(), target.float()) if count else output.new_zeros(())
            losses.append(difference / target.float().abs().mean().clamp(min=1e-3) if relative else difference)
    return torch.stack(losses).mean()


def balanced_loss(generated: Tensor, first: Tensor, others: Sequence[tuple[Tensor, float]]) -> Tensor:
    """A loss whose gradient on `generated` [batch, samples] is that of `first`, and that of each of the others brought
    to so many times its norm.

    How steep discriminators are changes by orders of magnitude while they learn (balancing as in VQGAN, Esser et al.,
    2021, equation 7, and EnCodec, Défossez et al., 2022, section 3.4). A loss without a gradient adds none. The loss
    has the gradients of a sum, but not its value.
    """
    (total,) = torch.autograd.grad(first, generated, retain_graph=True)
    norm = total.norm()
    for loss, weight in others:
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, generated, retain_graph=True)
            total = total + weight * norm / gradient.norm().clamp(min=1e-12) * gradient
    return (generated * total.detach()).sum()


def rotate_phases(waveforms: Tensor, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """An all-pass filter for each of the waveforms [batch, samples], drawn anew by each call (PhaseAug, Lee et al.,
    2023, there on short-time spectra): the delay of a frequency is some samples, other ones in other bands.

    Given real and generated speech alike, discriminators cannot go by phases that tokens do not tell.
    """
    batch, samples = waveforms.shape
    bands = _DELAY_DEVIATION * torch.randn(batch, 1, _DELAY_BANDS, generator=generator)
    delays = bands + _MOST_DELAY * (2 * torch.rand(batch, 1, 1, generator=generator) - 1)
    delays = F.interpolate(delays, samples // 2 + 1, mode="linear", align_corners=True)[:, 0].to(waveforms.device)
    phases = delays * torch.linspace(0, torch.pi, samples // 2 + 1, device=waveforms.device)
    filters = torch.polar(torch.ones_like(phases), -phases)

    def rotate(waveforms: Tensor) -> Tensor:
        rotated: Tensor = torch.fft.irfft(torch.fft.rfft(waveforms.float()) * filters, samples)
        return rotated

    return rotate
