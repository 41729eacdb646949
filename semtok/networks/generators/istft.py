"""A generator that predicts short-time spectra instead of samples, several times cheaper to train and to run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.errors import MOST_LAYERS, ConfigError, check_sizes
from semtok.networks.convnext import ConvNeXtBlock, FrameConv1d
from semtok.networks.generators.generator import Generator


@dataclass(frozen=True)
class ISTFTConfig:
    """Sizes of `ISTFTGenerator`.

    Args:
        hop_length: samples of one frame.
        width: channels of a block.
        hidden: channels of a block's inner layer.
        blocks: number of blocks.
        n_fft: samples of a window.
        stft_hop_length: samples between windows, a divisor of `hop_length`.
        look_ahead: frames after a frame that its samples depend on, for speech with little delay; by default as many
            as before it.
    """

    title: ClassVar[str] = "inverse STFT"

    hop_length: int
    width: int
    hidden: int
    blocks: int
    n_fft: int
    stft_hop_length: int
    look_ahead: int | None = None

    def __post_init__(self) -> None:
        check_sizes(self, "hop_length", "width", "hidden", "n_fft", "stft_hop_length")
        check_sizes(self, "blocks", most=MOST_LAYERS)
        if self.hop_length % self.stft_hop_length:
            raise ConfigError(f"stft_hop_length {self.stft_hop_length} must divide the hop_length {self.hop_length}")
        if self.n_fft % 2 or self.n_fft < 2 * self.stft_hop_length:
            raise ConfigError(
                f"n_fft {self.n_fft} must be even and at least twice the stft_hop_length {self.stft_hop_length}, "
                "so that windows overlap everywhere"
            )
        most = 3 * (1 + self.blocks) + self.overlap
        if self.look_ahead is not None and not self.overlap <= self.look_ahead <= most:
            raise ConfigError(
                f"look_ahead must be {self.overlap} frames, by which windows overlap, to {most}, got {self.look_ahead}"
            )

    @property
    def overlap(self) -> int:
        """Frames by which, on either side, a window is longer than the hop that its spectrum stands for."""
        return math.ceil((self.n_fft - self.stft_hop_length) // 2 / self.hop_length)

    def build(self, dim: int) -> ISTFTGenerator:
        """With random weights, for input vectors of `dim`."""
        return ISTFTGenerator(dim, self)


class ISTFTGenerator(Generator):
    """ConvNeXt blocks at frame rate with an inverse-STFT head (the design of Vocos, Siuzdak, 2023).

    Each frame gives `hop_length / stft_hop_length` short-time spectra, so that windows are short enough to resolve
    pitch pulses although the blocks run only once for each frame.

    Args:
        dim: of the input vectors.
        config: the sizes.
    """

    def __init__(self, dim: int, config: ISTFTConfig) -> None:
        super().__init__()
        self.hop_length, self.stft_hop_length, self.n_fft = config.hop_length, config.stft_hop_length, config.n_fft
        width, blocks = config.width, config.blocks
        first, *others = _share_look_ahead(config)
        self.conv_pre = FrameConv1d(dim, width, ahead=first)
        self.norm_pre = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, config.hidden, 1 / blocks, ahead=ahead) for ahead in others)
        self._overlap = config.overlap
        self.norm_post = nn.LayerNorm(width)
        self.head = nn.Linear(width, self.hop_length // self.stft_hop_length * (self.n_fft + 2))

    @property
    def receptive_frames(self) -> tuple[int, int]:
        """How many frames before a frame, and how many after it, the samples of that frame depend on."""
        # The blocks' convolutions are of 7 frames each: what they do not see ahead they see before.
        ahead = self.conv_pre.ahead + sum(cast(ConvNeXtBlock, block).depthwise.ahead for block in self.blocks)
        before = 6 * (1 + len(self.blocks)) - ahead
        return before + self._overlap, ahead + self._overlap

    def compile_parts(self) -> None:
        # torch.compile cannot compile the complex numbers of an inverse STFT, and warns.
        for block in self.blocks:
            block.compile(dynamic=True)

    def forward(self, features: Tensor) -> Tensor:
        """features [batch, frames, dim] -> waveform [batch, frames x hop_length], not bounded."""
        spectra = torch.polar(*self.spectra(features))
        return self._overlap_add(torch.fft.irfft(spectra, self.n_fft))

    def spectra(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude and phase of each window, float32 [batch, spectra, n_fft / 2 + 1]; features as in `forward`."""
        x = self.norm_pre(self.conv_pre(features.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        spectra = self.head(self.norm_post(x)).float().unflatten(-1, (-1, self.n_fft + 2)).flatten(1, 2)
        log_magnitude, phase = spectra.chunk(2, dim=-1)
        # Vocos bounds the magnitude so that a bad step cannot overflow the exponential.
        return log_magnitude.exp().clamp(max=1e2), phase

    def _overlap_add(self, windows: Tensor) -> Tensor:
        """[batch, spectra, n_fft] -> [batch, spectra x stft_hop_length], normalised by the squared window."""
        hop, count = self.stft_hop_length, windows.shape[1]
        edge = (self.n_fft - hop) // 2
        # Computed in each call, as a buffer would be rounded with a model in half precision.
        window = torch.hann_window(self.n_fft, dtype=windows.dtype, device=windows.device)

        def fold(x: Tensor) -> Tensor:
            size = (1, (count - 1) * hop + self.n_fft)
            folded = F.fold(x.transpose(1, 2), size, kernel_size=(1, self.n_fft), stride=(1, hop))
            return folded[:, 0, 0, edge : edge + count * hop]

        return fold(windows * window) / fold(window.square().expand(1, count, -1))


def _share_look_ahead(config: ISTFTConfig) -> list[int]:
    """Frames after a frame that each convolution sees, the first one's first: the first ones see as far as they can.

    What is far ahead then passes through all blocks, as it does without a limit.
    """
    convolutions = 1 + config.blocks
    left = 3 * convolutions if config.look_ahead is None else config.look_ahead - config.overlap
    shares = []
    for _ in range(convolutions):
        shares.append(min(3, left))
        left -= shares[-1]
    return shares
