"""Discriminators of the adversarial phase: over periods of the waveform, its scales, spectrograms and features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

Judgement = tuple[Tensor, list[Tensor]]
"""The map of scores of one discriminator, and its inner maps; the batch, or what it is split into, comes first."""


class PeriodDiscriminator(nn.Module):
    """Sees every `period`-th sample together (HiFi-GAN; Kong et al., 2020)."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        sizes = [1, *channels]
        strides = [3] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(i, o, 5, stride, padding=2))
            for i, o, stride in zip(sizes, channels, strides, strict=False)
        )
        self.score = weight_norm(nn.Conv1d(sizes[-1], 1, 3, padding=1))

    def forward(self, waveforms: Tensor) -> Judgement:
        short = -waveforms.shape[1] % self.period
        padded = F.pad(waveforms[:, None], (0, short), mode="reflect")[:, 0]
        # Each phase of the period is a signal of its own: on a CPU faster than a kernel as wide as one phase.
        x = padded.unflatten(-1, (-1, self.period)).transpose(1, 2).flatten(0, 1)[:, None]
        return _judge(x, self.convs, self.score)


class ScaleDiscriminator(nn.Module):
    """Sees the waveform averaged over 2^`scale` samples (MelGAN; Kumar et al., 2019; here as in HiFi-GAN)."""

    # Outputs, kernel size, stride, groups of each convolution.
    LAYERS = (
        (128, 15, 1, 1),
        (128, 41, 2, 4),
        (256, 41, 2, 16),
        (512, 41, 4, 16),
        (1024, 41, 4, 16),
        (1024, 41, 1, 16),
        (1024, 5, 1, 1),
    )

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        norm = weight_norm if scale else spectral_norm
        inputs = (1, *(outputs for outputs, *_ in self.LAYERS))
        self.convs = nn.ModuleList(
            norm(nn.Conv1d(i, o, kernel, stride, padding=kernel // 2, groups=groups))
            for i, (o, kernel, stride, groups) in zip(inputs, self.LAYERS, strict=False)
        )
        self.score = norm(nn.Conv1d(inputs[-1], 1, 3, padding=1))

    def forward(self, waveforms: Tensor) -> Judgement:
        x = waveforms[:, None]
        for _ in range(self.scale):
            x = F.avg_pool1d(x, 4, 2, padding=2)
        return _judge(x, self.convs, self.score)


class SpectrogramDiscriminator(nn.Module):
    """Sees the real and imaginary part of a spectrogram of one resolution (EnCodec; Défossez et al., 2022).

    Magnitudes are raised to the power of 0.3, without which all but the loudest harmonics would be next to nothing.
    The first convolution moves on by `stride` bins: 4 take half the time of EnCodec's 2.
    """

    window: Tensor

    def __init__(self, n_fft: int, channels: int, stride: int = 2) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        layers = [(2, (stride, 1)), (channels, (2, 1)), (channels, (2, 2)), (channels, (2, 1)), (channels, (1, 1))]
        self.convs = nn.ModuleList(
            weight_norm(
                nn.Conv2d(inputs, channels, (7, 3) if i == 0 else (3, 3), stride, padding=(3, 1) if i == 0 else 1)
            )
            for i, (inputs, stride) in enumerate(layers)
        )
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, waveforms: Tensor) -> Judgement:
        spectrum = torch.stft(waveforms, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
        # A product, as zero has no angle. Magnitudes below the floor, about that of 16-bit audio, grow no further.
        compressed = spectrum * spectrum.abs().clamp(min=1e-3) ** -0.7
        return _judge(torch.view_as_real(compressed).permute(0, 3, 1, 2), self.convs, self.score)


class FeatureDiscriminator(nn.Module):
    """Sees the features [batch, frames, dim] of one layer of a frozen encoder, which say what speech is already.

    Such a discriminator is small and learns fast (Projected GAN, Sauer et al., 2021; VPFD, arXiv:2508.17874).
    """

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        layers = [(dim, 1), (channels, 5), (channels, 5)]
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(inputs, channels, kernel, padding=kernel // 2)) for inputs, kernel in layers
        )
        self.score = weight_norm(nn.Conv1d(channels, 1, 3, padding=1))

    def forward(self, features: Tensor) -> Judgement:
        return _judge(self.norm(features).transpose(1, 2), self.convs, self.score)


class Discriminators(nn.Module):
    """Several discriminators of waveforms [batch, samples], each with a name.

    Args:
        features: waveforms -> features [batch, frames, `feature_dim`] of each of `feature_layers`. What it runs is
            frozen, and no part of this module.
    """

    def __init__(
        self,
        periods: Sequence[int] = (),
        period_channels: Sequence[int] = (),
        scales: int = 0,
        windows: Sequence[int] = (),
        spectrogram_channels: int = 0,
        spectrogram_stride: int = 2,
        *,
        features: Callable[[Tensor], Sequence[Tensor]] | None = None,
        feature_layers: Sequence[int] = (),
        feature_dim: int = 0,
        feature_channels: int = 0,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PeriodDiscriminator(period, period_channels) for period in periods)
        self.parts.extend(ScaleDiscriminator(scale) for scale in range(scales))
        self.parts.extend(
            SpectrogramDiscriminator(n_fft, spectrogram_channels, spectrogram_stride) for n_fft in windows
        )
        self.heads = nn.ModuleList(FeatureDiscriminator(feature_dim, feature_channels) for _ in feature_layers)
        self.features = features
        self.names = [
            *(f"period_{period}" for period in periods),
            *(f"scale_{2**scale}" for scale in range(scales)),
            *(f"window_{n_fft}" for n_fft in windows),
            *(f"layer_{layer}" for layer in feature_layers),
        ]

    def forward(self, waveforms: Tensor) -> list[Judgement]:
        """What each of them says, in the order of `names`."""
        judged = [part(waveforms) for part in self.parts]
        if self.features is not None:
            judged += [head(seen) for head, seen in zip(self.heads, self.features(waveforms), strict=True)]
        return judged


def _judge(x: Tensor, convs: nn.ModuleList, score: nn.Module) -> Judgement:
    inner = []
    for conv in convs:
        x = F.leaky_relu(conv(x), 0.1)
        inner.append(x)
    return score(x), inner
