"""Discriminators of the adversarial phase: over periods of the waveform, over its scales and over spectrograms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

Judgement = tuple[list[Tensor], list[Tensor]]
"""Scores, one map a discriminator, and their inner maps."""


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

    def forward(self, waveforms: Tensor) -> tuple[Tensor, list[Tensor]]:
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

    def forward(self, waveforms: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = waveforms[:, None]
        for _ in range(self.scale):
            x = F.avg_pool1d(x, 4, 2, padding=2)
        return _judge(x, self.convs, self.score)


class SpectrogramDiscriminator(nn.Module):
    """Sees the real and imaginary part of a spectrogram of one resolution (EnCodec; Défossez et al., 2022).

    Magnitudes are raised to the power of 0.3, without which all but the loudest harmonics would be next to nothing.
    """

    window: Tensor

    def __init__(self, n_fft: int, channels: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        layers = [(2, (2, 1)), (channels, (2, 1)), (channels, (2, 2)), (channels, (2, 1)), (channels, (1, 1))]
        self.convs = nn.ModuleList(
            weight_norm(
                nn.Conv2d(inputs, channels, (7, 3) if i == 0 else (3, 3), stride, padding=(3, 1) if i == 0 else 1)
            )
            for i, (inputs, stride) in enumerate(layers)
        )
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, waveforms: Tensor) -> tuple[Tensor, list[Tensor]]:
        spectrum = torch.stft(waveforms, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
        # A product, as zero has no angle. Magnitudes below the floor, about that of 16-bit audio, grow no further.
        compressed = spectrum * spectrum.abs().clamp(min=1e-3) ** -0.7
        return _judge(torch.view_as_real(compressed).permute(0, 3, 1, 2), self.convs, self.score)


class Discriminators(nn.Module):
    """Several discriminators of waveforms [batch, samples]."""

    def __init__(
        self,
        periods: Sequence[int],
        period_channels: Sequence[int],
        scales: int,
        windows: Sequence[int],
        spectrogram_channels: int,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PeriodDiscriminator(period, period_channels) for period in periods)
        self.parts.extend(ScaleDiscriminator(scale) for scale in range(scales))
        self.parts.extend(SpectrogramDiscriminator(n_fft, spectrogram_channels) for n_fft in windows)

    def forward(self, waveforms: Tensor) -> Judgement:
        judged = [part(waveforms) for part in self.parts]
        return [score for score, _ in judged], [inner for _, maps in judged for inner in maps]


def _judge(x: Tensor, convs: nn.ModuleList, score: nn.Module) -> tuple[Tensor, list[Tensor]]:
    inner = []
    for conv in convs:
        x = F.leaky_relu(conv(x), 0.1)
        inner.append(x)
    return score(x), inner
