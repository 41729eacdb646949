"""Tokenizer and vocoder as graphs of the plain operations that other engines have, for one clip of any length.

What semtok does for speed or for batches is written out again here: windows of a convolution, spectra instead of
long kernels, complex numbers, statistics of a recording that is read in pieces. Codes and waveforms are the same up to
the rounding of float32.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.codebooks.layers import Layer, deepest
from semtok.codebooks.quantizer import ResidualQuantizer
from semtok.encoder.encoder import normalized
from semtok.encoder.families import Convolutional
from semtok.encoder.positions import PositionConvolution, PositionEmbedding
from semtok.errors import CheckpointError
from semtok.networks.generators.istft import ISTFTGenerator
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder


class TokenizerGraph(nn.Module):
    """Waveform float32 [1, samples] -> codes int64 [1, rows, frames] of some layers, in their order.

    Raises:
        CheckpointError: an encoder on filterbanks (w2v-BERT 2.0).
    """

    def __init__(self, tokenizer: Tokenizer, layers: Sequence[Layer]) -> None:
        super().__init__()
        encoder = tokenizer.encoder
        model = copy.deepcopy(encoder.model).cpu()
        if not isinstance(model, Convolutional):
            raise CheckpointError(
                f"an encoder of the family {model.config.model_type} cannot be exported: it takes filterbanks, and "
                "only encoders that begin with convolutions on the waveform are supported"
            )
        self.model = model
        embedding = model.encoder.pos_conv_embed
        if isinstance(embedding, PositionEmbedding) and isinstance(embedding.conv, PositionConvolution):
            embedding.conv = embedding.conv.plain()
        self.layers = tuple(layers)
        self.mixtures = {name: encoder.mixtures[name] for name in self.layers if isinstance(name, str)}
        self.normalize, self.epsilon = encoder.normalize, encoder.normalize_epsilon
        quantizers = (tokenizer.network.quantizer(layer) for layer in layers)
        self.quantizers = nn.ModuleList(_Quantizer(quantizer) for quantizer in quantizers)

    def forward(self, waveform: Tensor) -> Tensor:
        frames = self._convolve(self._normalised(waveform))
        hidden = self.model.embed_frames(frames, torch.zeros_like(frames[:, :, :1], dtype=torch.bool))
        terms = self.model.attention_terms(hidden.shape[1], None)
        features: dict[Layer, Tensor] = {0: hidden}
        for number, layer in enumerate(self.model.encoder.layers[: deepest(self.layers, self.mixtures)], start=1):
            hidden = features[number] = layer(hidden, *terms)
        for name, weights in self.mixtures.items():
            features[name] = sum(
                (weight * normalized(features[number]) for number, weight in weights.items()),
                start=torch.zeros_like(hidden),
            )
        codes = [quantize(features[layer]) for layer, quantize in zip(self.layers, self.quantizers, strict=True)]
        return torch.cat(codes, dim=1)

    def _normalised(self, waveform: Tensor) -> Tensor:
        if not self.normalize:
            return waveform
        samples = waveform.double()
        mean = samples.mean(dim=1, keepdim=True)
        variance = (samples - mean).square().mean(dim=1, keepdim=True)
        return (waveform - mean.float()) / torch.sqrt(variance + self.epsilon).float()

    def _convolve(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, channels]."""
        hidden = waveform[:, None]
        for layer in self.model.feature_extractor.layers:
            convolution = layer.conv
            hidden = F.conv1d(hidden, convolution.weight, convolution.bias, convolution.stride)
            if isinstance(layer.layer_norm, nn.GroupNorm):
                hidden = _group_norm(hidden, layer.layer_norm)
            elif layer.layer_norm is not None:
                hidden = layer.layer_norm(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = layer.activation(hidden)
        return hidden.transpose(1, 2)


class VocoderGraph(nn.Module):
    """Codes int64 [1, rows, frames] of some layers -> waveform float32 [1, frames x hop_length] in [-1, 1].

    A vocoder that can be told whose voice takes an embedding [1, dim] too, zeros for no speaker.
    """

    def __init__(self, vocoder: Vocoder, layers: Sequence[Layer]) -> None:
        super().__init__()
        network = self.network = copy.deepcopy(vocoder.network).cpu()
        rows = network.codebooks.select(layers, owner="the vocoder").rows
        # the order in which the vocoder decodes, whatever that of the layers
        ordered = [layer for layer in network.codebooks if layer in rows]
        self.rows = [row for layer in ordered for row in range(rows[layer].start, rows[layer].stop)]
        self.positions = [network.codebooks.layers.index(layer) for layer in ordered]
        generator = network.generator
        self.generator = _RealISTFT(generator) if isinstance(generator, ISTFTGenerator) else generator

    def forward(self, codes: Tensor, speaker: Tensor | None = None) -> Tensor:
        embedded = self.network.selector.embed(codes[:, self.rows], self.positions)
        return self._generate(embedded, None, speaker)

    def _generate(self, embedded: Tensor, present: Tensor | None, speaker: Tensor | None) -> Tensor:
        selector = self.network.selector
        fused, _ = selector.fuse(embedded, selector.score(embedded).squeeze(-1), present)
        if self.network.speaker is not None:
            fused = self.network.speaker(fused, speaker)
        waveform: Tensor = self.generator(fused).clamp(-1, 1)
        return waveform


class ChoosingVocoderGraph(VocoderGraph):
    """A `VocoderGraph` that takes `keep` float32 [rows] too: 1 for rows to decode, 0 for the others.

    A layer whose first stage is not kept is absent; of the stages that are not kept the embeddings count as zero.
    """

    def __init__(self, vocoder: Vocoder, layers: Sequence[Layer]) -> None:
        super().__init__(vocoder, layers)
        stages = (len(vocoder.codebooks[self.network.codebooks.layers[position]]) for position in self.positions)
        self.starts = [0, *itertools.accumulate(stages)]

    def forward(self, codes: Tensor, keep: Tensor, speaker: Tensor | None = None) -> Tensor:  # type: ignore[override]
        selector, codes, keep = self.network.selector, codes[:, self.rows], keep[self.rows]
        embedded = []
        for position, (start, stop) in zip(self.positions, itertools.pairwise(self.starts), strict=True):
            tables = selector.embeddings[selector.rows[position]]
            stages = (tables[row - start](codes[:, row]) * keep[row] for row in range(start, stop))
            embedded.append(functools.reduce(torch.add, stages))
        present = keep[self.starts[:-1]] > 0
        return self._generate(torch.stack(embedded, dim=1), present[None], speaker)


class _Quantizer(nn.Module):
    """Features [1, frames, dim] -> codes [1, stages, frames], all frames at a time; see `Quantizer`."""

    def __init__(self, quantizer: ResidualQuantizer) -> None:
        super().__init__()
        self.count = len(quantizer.stages)
        for number, stage in enumerate(quantizer.stages):
            centroids = stage.centroids.cpu()
            centre = centroids.mean(dim=0)
            self.register_buffer(f"centroids_{number}", centroids)
            self.register_buffer(f"centre_{number}", centre)
            self.register_buffer(f"half_norms_{number}", (centroids - centre).square().sum(dim=1) / 2)

    def forward(self, features: Tensor) -> Tensor:
        left, codes = features, []
        for number in range(self.count):
            centroids, centre = self.get_buffer(f"centroids_{number}"), self.get_buffer(f"centre_{number}")
            # engines compute the centred centroids once, as they load; the file holds them once
            scores = self.get_buffer(f"half_norms_{number}") - (left - centre) @ (centroids - centre).T
            codes.append(scores.argmin(dim=2))
            left = left - centroids[codes[-1]]
        return torch.stack(codes, dim=1)


class _RealISTFT(nn.Module):
    """An `ISTFTGenerator` whose inverse Fourier transform, window and overlap are one transposed convolution."""

    def __init__(self, generator: ISTFTGenerator) -> None:
        super().__init__()
        self.generator = generator
        size = generator.n_fft
        bins = torch.arange(size // 2 + 1, dtype=torch.float64)
        angles = 2 * math.pi / size * bins[:, None] * torch.arange(size)
        # of a real signal all bins but the first and the last stand for two
        weights = torch.where((bins == 0) | (bins == size // 2), 1.0, 2.0)[:, None] / size
        window = torch.hann_window(size, dtype=torch.float64)
        waves = torch.cat([weights * angles.cos(), -weights * angles.sin()]) * window
        self.register_buffer("waves", waves[:, None].float())
        self.register_buffer("square", window.square()[None, None].float())

    def forward(self, features: Tensor) -> Tensor:
        magnitude, phase = self.generator.spectra(features)
        parts = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=2).transpose(1, 2)
        hop, count = self.generator.stft_hop_length, parts.shape[2]
        edge = (self.generator.n_fft - hop) // 2
        whole = slice(edge, edge + count * hop)
        summed = F.conv_transpose1d(parts, self.get_buffer("waves"), stride=hop)
        squares = F.conv_transpose1d(torch.ones_like(parts[:, :1]), self.get_buffer("square"), stride=hop)
        return summed[:, 0, whole] / squares[:, 0, whole]


def _group_norm(hidden: Tensor, norm: nn.GroupNorm) -> Tensor:
    """hidden [1, channels, steps], each channel normalised over time; statistics in float64 as semtok has them."""
    steps = hidden.double()
    mean = steps.mean(dim=2, keepdim=True)
    variance = (steps - mean).square().mean(dim=2, keepdim=True)
    scale = norm.weight.double()[:, None] / torch.sqrt(variance + norm.eps)
    return (hidden - mean.float()) * scale.float() + norm.bias[:, None]
