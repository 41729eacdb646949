"""Convolutions over frames that tell an encoder where a frame is.

Weights have the names that they have in transformers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from semtok.encoder.config import ConvolutionalConfig, Data2VecConfig
from semtok.encoder.layers import activation


class PositionConvolution(nn.Module):
    """A zero-padded convolution over frames with as many output as input channels, computed by Fourier transforms.

    The method is overlap-save (Oppenheim and Schafer, Discrete-Time Signal Processing, section 8.7.3): blocks of frames
    are multiplied by the kernel in the frequency domain, and the part of each block that wraps around is left out. A
    kernel of 128 frames with 64 channels a group takes a twentieth of the multiplications. Computed in float32.

    Args:
        channels: in and out.
        kernel: frames.
        groups: of channels.
        weight_norm: whether the kernel is stored as a direction and a norm for each of its frames.
    """

    def __init__(self, channels: int, kernel: int, groups: int, *, weight_norm: bool) -> None:
        super().__init__()
        self._kernel, self._groups = kernel, groups
        self._size = 2 ** math.ceil(math.log2(2 * kernel))
        self._spectrum: Tensor | None = None
        self.bias = nn.Parameter(torch.zeros(channels))
        weight = nn.Parameter(torch.zeros(channels, channels // groups, kernel))
        if weight_norm:
            parts = {"original0": nn.Parameter(torch.ones(1, 1, kernel)), "original1": weight}
            self.parametrizations = nn.ModuleDict({"weight": nn.ParameterDict(parts)})
        else:
            self.parametrizations = nn.ModuleDict()
            self.weight = weight

    def prepare(self) -> None:
        """Computes the kernel's spectrum once; from then on the weights count no more."""
        if self._spectrum is None:
            spectrum = torch.fft.rfft(self._kernel_weight().float(), n=self._size).conj()
            spectrum = spectrum.unflatten(0, (self._groups, -1)).permute(3, 0, 2, 1)
            self._spectrum = spectrum.resolve_conj().contiguous()  # [frequencies, groups, channels in, channels out]

    @torch.no_grad()
    def _kernel_weight(self) -> Tensor:
        """[channels out, channels in / groups, kernel]."""
        for parts in self.parametrizations.children():
            assert isinstance(parts, nn.ParameterDict)
            return torch._weight_norm(parts["original1"], parts["original0"], 2)
        return self.weight

    def plain(self) -> nn.Conv1d:
        """A convolution with a copy of the weights."""
        weight, padding = self._kernel_weight(), self._kernel // 2
        convolution = nn.Conv1d(len(weight), len(weight), self._kernel, padding=padding, groups=self._groups)
        convolution.load_state_dict({"weight": weight, "bias": self.bias})
        return convolution

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, frames] -> the same shape, with one frame more if the kernel has an even size."""
        hidden = hidden.transpose(1, 2)
        assert self._spectrum is not None
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
        output: Tensor = (convolved + self.bias.float()).to(hidden.dtype).transpose(1, 2)
        return output


class PositionEmbedding(nn.Module):
    """One wide convolution (Baevski et al., 2020, arXiv 2006.11477, section 2), behind batch norm in some HuBERTs."""

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        dim, batch_norm = config.hidden_size, getattr(config, "conv_pos_batch_norm", False)
        kernel, groups = config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
        self.conv: nn.Module = PositionConvolution(dim, kernel, groups, weight_norm=not batch_norm)
        self.batch_norm = nn.BatchNorm1d(dim) if batch_norm else None
        self.activation = activation(config.feat_extract_activation)

    def forward(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """hidden [batch, frames, dim], 0 where padding bool [batch, frames, 1] -> embeddings, of the same shape."""
        if self.batch_norm is not None:
            hidden = self.batch_norm(hidden.transpose(1, 2)).transpose(1, 2).masked_fill(padding, 0)
        convolved = self.conv(hidden.transpose(1, 2)).transpose(1, 2)[:, : hidden.shape[1]]
        positions: Tensor = self.activation(convolved)
        return positions


class _PositionLayer(nn.Module):
    """Convolution, norm without weights, and activation; [batch, dim, frames] -> the same shape."""

    def __init__(self, config: Data2VecConfig) -> None:
        super().__init__()
        dim, kernel = config.hidden_size, config.conv_pos_kernel_size
        groups = config.num_conv_pos_embedding_groups
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        self.layer_norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.activation = activation(config.feat_extract_activation)

    def forward(self, hidden: Tensor) -> Tensor:
        convolved = self.conv(hidden)[:, :, : hidden.shape[2]]
        output: Tensor = self.activation(self.layer_norm(convolved.transpose(1, 2)).transpose(1, 2))
        return output


class StackedPositions(nn.Module):
    """The narrow convolutions of data2vec-audio, one behind the other (Baevski et al., 2022, arXiv 2202.03555)."""

    def __init__(self, config: Data2VecConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_PositionLayer(config) for _ in range(config.num_conv_pos_embeddings))

    def forward(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """As `PositionEmbedding.forward`."""
        hidden, padding = hidden.transpose(1, 2), padding.transpose(1, 2)
        for layer in self.layers:
            hidden = layer(hidden).masked_fill(padding, 0)
        return hidden.transpose(1, 2)
