"""The encoder's front end: convolutions on the waveform, and the convolution over frames for the positions.

Tensors are [batch, frames, channels] for speed. A convolution is then one matrix product over windows without a copy,
and the channels for layer norm are contiguous. The convolution with a long kernel is a product of spectra. The results
equal those of transformers' modules up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semtok.audio.lengths import Framing
from semtok.encoder.statistics import Statistics

# Frames of a block. On a CPU the convolutions run block by block, so that the values between two convolutions stay in
# the cache; those of a whole long clip would be new memory of the system for each convolution.
_BLOCK_FRAMES = 128


class FrontEnd:
    """The convolutions on the waveform, without padding, of all families but w2v-BERT.

    Args:
        layers: `feature_extractor.conv_layers` of a model of transformers. The order of the weights in memory is
            changed to that of a window; their values are not.
        framing: kernels and strides of the layers.
    """

    def __init__(self, layers: Sequence[Any], framing: Framing) -> None:
        self._layers = layers
        self._framing = framing
        for layer in layers:
            layer.conv.weight.data = layer.conv.weight.data.transpose(1, 2).contiguous().transpose(1, 2)

    def __call__(self, waveforms: Tensor, lengths: Sequence[int], statistics: Sequence[Statistics]) -> Tensor:
        """Waveforms -> features [batch, frames, channels]. The frames of a clip depend on no other clip.

        Args:
            waveforms: float32 [batch, samples].
            lengths: samples of each clip.
            statistics: for each clip, of the recording that the clip is, or is a piece of.
        """
        clips = _normalised(waveforms, lengths, statistics)
        if waveforms.device.type != "cpu":
            return self._convolve(clips, statistics)
        convolution = self._layers[-1].conv
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
        hidden = waveforms.to(self._layers[0].conv.weight.dtype)[:, :, None]
        for layer, kernel, stride in zip(self._layers, self._framing.kernels, self._framing.strides, strict=True):
            batch, _, channels = hidden.shape
            windows = hidden.flatten(1).unfold(1, kernel * channels, stride * channels)
            weight = layer.conv.weight.transpose(1, 2).flatten(1)
            rows = windows.reshape(-1, kernel * channels)
            hidden = nn.functional.linear(rows, weight, layer.conv.bias).unflatten(0, (batch, -1))
            norm = getattr(layer, "layer_norm", None)
            if has_group_norm(layer):
                hidden = _group_norm(hidden, layer.layer_norm, statistics)
            elif norm is not None:
                hidden = norm(hidden)
            hidden = layer.activation(hidden)
        return hidden


class PositionConvolution(nn.Module):
    """A zero-padded convolution over frames with as many output as input channels, computed by Fourier transforms.

    The method is overlap-save (Oppenheim and Schafer, Discrete-Time Signal Processing, section 8.7.3): blocks of frames
    are multiplied by the kernel in the frequency domain, and the part of each block that wraps around is left out. A
    kernel of 128 frames with 64 channels a group takes a twentieth of the multiplications. Computed in float32.

    This module replaces the convolution in the model. Its parameters have the names of the convolution's, so that the
    model's files stay the same. Unlike a module with weight norm, this one can be pickled.

    Args:
        convolution: of transformers, with or without weight norm.
    """

    bias: Tensor | None

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        if hasattr(convolution, "parametrizations"):
            self.parametrizations = convolution.parametrizations
        else:
            self.weight = convolution.weight
        self.bias = convolution.bias
        (self._kernel,) = convolution.kernel_size
        self._groups = convolution.groups
        self._size = 2 ** math.ceil(math.log2(2 * self._kernel))
        spectrum = torch.fft.rfft(convolution.weight.detach().float(), n=self._size).conj()
        spectrum = spectrum.unflatten(0, (self._groups, -1)).permute(3, 0, 2, 1)
        self._spectrum = spectrum.resolve_conj().contiguous()  # [frequencies, groups, channels in, channels out]

    def plain(self) -> nn.Conv1d:
        """A convolution with a copy of the weights."""
        module: Any = self  # with weight norm, its parts
        weight = module.parametrizations.weight() if hasattr(module, "parametrizations") else module.weight
        channels, padding = len(weight), self._kernel // 2
        convolution = nn.Conv1d(
            channels, channels, self._kernel, padding=padding, groups=self._groups, bias=self.bias is not None
        )
        convolution.weight.data.copy_(weight)
        if self.bias is not None and convolution.bias is not None:
            convolution.bias.data.copy_(self.bias)
        return convolution

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, frames] -> the same shape, with one frame more if the kernel has an even size."""
        hidden = hidden.transpose(1, 2)
        if self._spectrum.device != hidden.device:
            self._spectrum = self._spectrum.to(hidden.device)
        batch, frames, _ = hidden.shape
        answered = frames + 1 - self._kernel % 2
        step = self._size - self._kernel + 1
        count = -(-answered // step)
        before = self._kernel // 2
        after = count * step + self._kernel - 1 - frames - before
        padded = nn.functional.pad(hidden.float(), (0, 0, before, after))
        spectra = torch.fft.rfft(padded.unfold(1, self._size, step))  # [batch, blocks, channels, frequencies]
        spectra = spectra.flatten(0, 1).unflatten(1, (self._groups, -1)).permute(3, 1, 0, 2)
        blocks = torch.fft.irfft((spectra @ self._spectrum).permute(2, 1, 3, 0), n=self._size)[..., :step]
        convolved = blocks.flatten(1, 2).transpose(1, 2).reshape(batch, count * step, -1)[:, :answered]
        if self.bias is not None:
            convolved = convolved + self.bias.float()
        output: Tensor = convolved.to(hidden.dtype).transpose(1, 2)
        return output


def has_group_norm(layer: Any) -> bool:
    """Whether a convolutional layer normalises each channel over time, as the first layer of some encoders does."""
    return isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm)


def _normalised(waveforms: Tensor, lengths: Sequence[int], statistics: Sequence[Statistics]) -> Tensor:
    """Waveforms [batch, samples], normalised where the statistics have a mean and a deviation, 0 past each length."""
    inputs = torch.zeros_like(waveforms)
    for row, waveform, length, known in zip(inputs, waveforms, lengths, statistics, strict=True):
        clip = waveform[:length]
        if known.mean is not None and known.deviation is not None:
            # Rounded before they reach the device, which may have no float64.
            clip = (clip - known.mean.float().to(clip.device)) / known.deviation.float().to(clip.device)
        row[:length] = clip
    return inputs


def _group_norm(hidden: Tensor, norm: nn.GroupNorm, statistics: Sequence[Statistics]) -> Tensor:
    """hidden [batch, steps, channels] -> the same shape, each clip normalised by the statistics of its recording."""
    means = [known.channel_mean for known in statistics if known.channel_mean is not None]
    variances = [known.channel_variance for known in statistics if known.channel_variance is not None]
    # In float64, where the statistics are.
    scale = norm.weight.to(variances[0].device) / torch.sqrt(torch.stack(variances) + norm.eps)
    mean, scale = (part.float().to(hidden.device)[:, None] for part in (torch.stack(means), scale))
    return ((hidden.float() - mean) * scale + norm.bias).to(hidden.dtype)
