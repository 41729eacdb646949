"""What makes frames of samples: the convolutions of the waveform, and the one over frames for the positions.

Both are laid out for speed, with frames before channels: a convolution is then one matrix product over windows that
lie in memory as they are needed, layer norm finds its channels side by side, and a long kernel is a product of spectra.
The results are those of transformers' modules up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semtok.audio.lengths import Framing
from semtok.encoder.statistics import Statistics

# On a CPU the convolutions run over so many frames at a time: what lies between them then stays in the cache, in memory
# that is used again, where that of a long clip would be fetched anew from the system for each convolution.
_BLOCK_FRAMES = 128


class FrontEnd:
    """The convolutions on the waveform, without padding, that all but w2v-BERT begin with.

    Args:
        layers: `feature_extractor.conv_layers` of a model of transformers. Their weights stay the same, but lie in
            memory from here on in the order of a window.
        framing: how frames lie over samples by them.
    """

    def __init__(self, layers: Sequence[Any], framing: Framing) -> None:
        self._layers = layers
        self._framing = framing
        for layer in layers:
            layer.conv.weight.data = layer.conv.weight.data.transpose(1, 2).contiguous().transpose(1, 2)

    def __call__(self, waveforms: Tensor, lengths: Sequence[int], statistics: Sequence[Statistics]) -> Tensor:
        """Waveforms float32 [batch, samples], with lengths in samples -> [batch, frames, channels].

        `statistics` are those of the recording that each clip is, or is a piece of. Valid frames see their clip alone.
        """
        clips = _normalised(waveforms, lengths, statistics)
        if waveforms.device.type != "cpu":
            return self._convolve(clips, statistics)
        convolution = self._layers[-1].conv
        frames = self._framing.count(waveforms.shape[1])
        found: Tensor = convolution.weight.new_zeros(len(clips), frames, convolution.out_channels)
        for row, start, end in self._blocks(lengths):
            block = self._convolve(clips[row, None, start:end], statistics[row : row + 1])[0]
            first = start // self._framing.hop_length
            found[row, first : first + len(block)] = block
        return found

    def _blocks(self, lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """Clip by clip, the samples of which a block of frames is made: clip, first sample, end."""
        for row, length in enumerate(lengths):
            frames = self._framing.count(length)
            for first in range(0, frames, _BLOCK_FRAMES):
                yield row, *self._framing.span(first, min(first + _BLOCK_FRAMES, frames))

    def _convolve(self, waveforms: Tensor, statistics: Sequence[Statistics]) -> Tensor:
        """waveforms [batch, samples] -> [batch, frames, channels]."""
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
    """A convolution over frames with as many channels out as in, padded with zeros: the same, by spectra.

    Blocks of frames are convolved as products of discrete Fourier transforms, of which the part that wraps around is
    thrown away (overlap-save: Oppenheim and Schafer, Discrete-Time Signal Processing, section 8.7.3). With a kernel of
    128 frames and 64 channels a group, that is a twentieth of the multiplications. In float32, whatever the dtype.

    It stands in the model in place of the convolution and keeps its parameters under their names, so that the model is
    saved as it was. Unlike a module with a parametrized weight it can be pickled.

    Args:
        convolution: of transformers, with or without weight norm, which is folded.
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
        """The convolution that it stands for, with weights of its own."""
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
        """As the convolution: [batch, channels, frames] -> the same, with one frame more for an even kernel."""
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
        found: Tensor = convolved.to(hidden.dtype).transpose(1, 2)
        return found


def has_group_norm(layer: Any) -> bool:
    """Whether a convolutional layer normalises each channel over time; the first one of some encoders does."""
    return isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm)


def _normalised(waveforms: Tensor, lengths: Sequence[int], statistics: Sequence[Statistics]) -> Tensor:
    """A copy, 0 past each length, and normalised if the statistics say how."""
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
    # On the CPU in float64, which a device may not have.
    scale = norm.weight.cpu() / torch.sqrt(torch.stack(variances) + norm.eps)
    mean, scale = (part.float().to(hidden.device)[:, None] for part in (torch.stack(means), scale))
    return ((hidden.float() - mean) * scale + norm.bias).to(hidden.dtype)
