"""The encoder's front end: convolutions on the waveform.

Tensors are [batch, frames, channels] for speed. A convolution is then one matrix product over windows without a copy,
and the channels for layer norm are contiguous. The results equal those of transformers' modules up to rounding, and
weights have the names that they have there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from semtok.audio.lengths import Framing
from semtok.encoder.config import ConvolutionalConfig
from semtok.encoder.layers import activation
from semtok.encoder.statistics import Statistics

SAMPLE_RATE = 16000
"""Hz; all families were trained at this rate."""
# Frames of a block. On a CPU the convolutions run block by block, so that the values between two convolutions stay in
# the cache; those of a whole long clip would be new memory of the system for each convolution.
_BLOCK_FRAMES = 128


class ConvolutionLayer(nn.Module):
    """The parts of a layer: a convolution, perhaps a norm, and an activation. `FrontEnd` runs them."""

    def __init__(self, config: ConvolutionalConfig, number: int) -> None:
        super().__init__()
        before = config.conv_dim[number - 1] if number > 0 else 1
        channels, kernel, stride = config.conv_dim[number], config.conv_kernel[number], config.conv_stride[number]
        self.conv = nn.Conv1d(before, channels, kernel, stride, bias=config.conv_bias)
        self.layer_norm: nn.LayerNorm | nn.GroupNorm | None = None
        if config.feat_extract_norm == "layer":
            self.layer_norm = nn.LayerNorm(channels)
        elif number == 0:
            self.layer_norm = nn.GroupNorm(channels, channels)
        self.activation = activation(config.feat_extract_activation)


class FrontEnd(nn.Module):
    """The convolutions on the waveform, without padding, of all families but w2v-BERT."""

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(ConvolutionLayer(config, number) for number in range(len(config.conv_dim)))
        self._framing = Framing(config.conv_kernel, config.conv_stride, SAMPLE_RATE)

    @property
    def layers(self) -> list[ConvolutionLayer]:
        return [layer for layer in self.conv_layers if isinstance(layer, ConvolutionLayer)]

    def prepare(self) -> None:
        """Brings the weights into the order of a window in memory; their values stay."""
        for layer in self.layers:
            layer.conv.weight.data = layer.conv.weight.data.transpose(1, 2).contiguous().transpose(1, 2)

    def forward(self, waveforms: Tensor, lengths: Sequence[int], statistics: Sequence[Statistics]) -> Tensor:
        """Waveforms -> features [batch, frames, channels]. The frames of a clip depend on no other clip.

        Args:
            waveforms: float32 [batch, samples].
            lengths: samples of each clip.
            statistics: for each clip, of the recording that the clip is, or is a piece of.
        """
        clips = _normalised(waveforms, lengths, statistics)
        if waveforms.device.type != "cpu":
            return self._convolve(clips, statistics)
        convolution = self.layers[-1].conv
        frames = self._framing.count(waveforms.shape[1])
        features: Tensor = convolution.weight.new_zeros(len(clips), frames, convolution.out_channels)
        for row, start, end in self._blocks(lengths):
            block = self._convolve(clips[row, None, start:end], statistics[row : row + 1])[0]
            first = start // self._framing.hop_length
            features[row, first : first + len(block)] = block
        return features

    def _blocks(self, lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """The samples [start, end) under each block of frames, clip by clip: number of the clip, start, end."""
        for row, length in enumerate(lengths):
            frames = self._framing.count(length)
            for first in range(0, frames, _BLOCK_FRAMES):
                yield row, *self._framing.span(first, min(first + _BLOCK_FRAMES, frames))

    def _convolve(self, waveforms: Tensor, statistics: Sequence[Statistics]) -> Tensor:
        """Normalised waveforms [batch, samples] -> features [batch, frames, channels]."""
        hidden = waveforms.to(self.layers[0].conv.weight.dtype)[:, :, None]
        for layer, kernel, stride in zip(self.layers, self._framing.kernels, self._framing.strides, strict=True):
            batch, _, channels = hidden.shape
            windows = hidden.flatten(1).unfold(1, kernel * channels, stride * channels)
            weight = layer.conv.weight.transpose(1, 2).flatten(1)
            rows = windows.reshape(-1, kernel * channels)
            hidden = nn.functional.linear(rows, weight, layer.conv.bias).unflatten(0, (batch, -1))
            if isinstance(layer.layer_norm, nn.GroupNorm):
                hidden = _group_norm(hidden, layer.layer_norm, statistics)
            elif layer.layer_norm is not None:
                hidden = layer.layer_norm(hidden)
            hidden = layer.activation(hidden)
        return hidden


def _normalised(waveforms: Tensor, lengths: Sequence[int], statistics: Sequence[Statistics]) -> Tensor:
    """Waveforms [batch, samples], normalised where the statistics have a mean and a deviation, 0 past each length."""
    inputs = []
    for waveform, length, known in zip(waveforms, lengths, statistics, strict=True):
        clip = waveform[:length]
        if known.mean is not None and known.deviation is not None:
            # Rounded before they reach the device, which may have no float64.
            clip = (clip - known.mean.float().to(clip.device)) / known.deviation.float().to(clip.device)
        inputs.append(nn.functional.pad(clip, (0, len(waveform) - length)))
    return torch.stack(inputs)


def _group_norm(hidden: Tensor, norm: nn.GroupNorm, statistics: Sequence[Statistics]) -> Tensor:
    """hidden [batch, steps, channels] -> the same shape, each clip normalised by the statistics of its recording."""
    means = [known.channel_mean for known in statistics if known.channel_mean is not None]
    variances = [known.channel_variance for known in statistics if known.channel_variance is not None]
    # In float64, where the statistics are.
    scale = norm.weight.to(variances[0].device) / torch.sqrt(torch.stack(variances) + norm.eps)
    mean, scale = (part.float().to(hidden.device)[:, None] for part in (torch.stack(means), scale))
    return ((hidden.float() - mean) * scale + norm.bias).to(hidden.dtype)
