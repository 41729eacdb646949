"""w2v-BERT 2.0: log-mel filterbanks, in pairs, under conformer layers (Chung et al., 2021, arXiv 2108.06209)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import glu, pad, scaled_dot_product_attention

from semtok.audio.lengths import Framing
from semtok.audio.mel import kaldi_log_mel
from semtok.encoder.config import FilterbankConfig
from semtok.encoder.front_end import SAMPLE_RATE
from semtok.encoder.layers import FeedForward, activation, layer_norm, split_heads
from semtok.encoder.model import Projection, SpeechModel, Stack
from semtok.encoder.statistics import MelStatistics, RunningStatistics, Statistics, WaveformStatistics


class RelativeKeyAttention(nn.Module):
    """Self-attention with an embedding for each distance of a key (Shaw et al., 2018, arXiv 1803.02155, eq. 4)."""

    def __init__(self, config: FilterbankConfig) -> None:
        super().__init__()
        dim, self.num_heads = config.hidden_size, config.num_attention_heads
        self.linear_q = nn.Linear(dim, dim)
        self.linear_k = nn.Linear(dim, dim)
        self.linear_v = nn.Linear(dim, dim)
        self.linear_out = nn.Linear(dim, dim)
        self._left, self._right = config.left_max_position_embeddings, config.right_max_position_embeddings
        self.distance_embedding: nn.Embedding | None = None
        if config.position_embeddings_type == "relative_key":
            self.distance_embedding = nn.Embedding(self._left + self._right + 1, dim // self.num_heads)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        projections = self.linear_q, self.linear_k, self.linear_v
        query, key, value = (split_heads(project(hidden), self.num_heads) for project in projections)
        bias = mask
        if self.distance_embedding is not None:
            # A score for each distance, then those of the keys: no vector for each pair of frames.
            scores = query @ self.distance_embedding.weight.T * query.shape[3] ** -0.5
            places = torch.arange(hidden.shape[1], device=hidden.device)
            distances = (places - places[:, None]).clamp(-self._left, self._right) + self._left
            bias = scores.gather(3, distances.expand(*scores.shape[:3], -1))
            bias = bias if mask is None else bias + mask
        attended = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        output: Tensor = self.linear_out(attended.transpose(1, 2).flatten(2))
        return output


class CausalConvolution(nn.Module):
    """The convolution module of a conformer layer, which does not see what comes after a frame."""

    def __init__(self, config: FilterbankConfig) -> None:
        super().__init__()
        dim, self._kernel = config.hidden_size, config.conv_depthwise_kernel_size
        self.layer_norm = layer_norm(config)
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(dim, dim, self._kernel, groups=dim, bias=False)
        self.depthwise_layer_norm = layer_norm(config)
        self.activation = activation(config.hidden_act)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = glu(self.pointwise_conv1(self.layer_norm(hidden).transpose(1, 2)), dim=1)
        hidden = self.depthwise_conv(pad(hidden, (self._kernel - 1, 0)))
        hidden = self.activation(self.depthwise_layer_norm(hidden.transpose(1, 2)))
        return self.pointwise_conv2(hidden.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class ConformerLayer(nn.Module):
    """Attention and a convolution between two halves of a feed-forward network (Gulati et al., 2020, arXiv 2005.08100).

    Only attention mixes frames in both directions, so that padding after a clip is seen by attention alone.
    """

    def __init__(self, config: FilterbankConfig) -> None:
        super().__init__()
        self.ffn1_layer_norm = layer_norm(config)
        self.ffn1 = FeedForward(config)
        self.self_attn_layer_norm = layer_norm(config)
        self.self_attn = RelativeKeyAttention(config)
        self.conv_module = CausalConvolution(config)
        self.ffn2_layer_norm = layer_norm(config)
        self.ffn2 = FeedForward(config)
        self.final_layer_norm = layer_norm(config)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        hidden = hidden + 0.5 * self.ffn1(self.ffn1_layer_norm(hidden))
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden), mask)
        hidden = hidden + self.conv_module(hidden)
        hidden = hidden + 0.5 * self.ffn2(self.ffn2_layer_norm(hidden))
        output: Tensor = self.final_layer_norm(hidden)
        return output


class Filterbank(SpeechModel):
    """w2v-BERT 2.0."""

    def __init__(self, config: FilterbankConfig) -> None:
        super().__init__(config)
        # The window and hop of a filterbank frame, then the pairing of these frames.
        self.framing = Framing((400, 2), (160, 2), SAMPLE_RATE)
        self.feature_projection = Projection(config, config.feature_projection_input_dim)
        self.encoder = Stack([ConformerLayer(config) for _ in range(config.num_hidden_layers)])

    def running_statistics(self, *, normalize: bool, epsilon: float) -> RunningStatistics:
        # Without normalisation the samples count in no statistic.
        if not normalize:
            return WaveformStatistics(normalize=False, epsilon=epsilon, convolution=None)
        return MelStatistics(kaldi_log_mel, window=self.framing.kernels[0], hop_length=self.framing.strides[0])

    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, statistics: Sequence[Statistics]
    ) -> Tensor:
        projection = self.feature_projection.projection
        # Up to the projection on the CPU, as the statistics are float64, which not every device has.
        features = torch.zeros(*valid.shape, projection.in_features)
        for row, waveform, length, known in zip(features, waveforms.cpu(), lengths, statistics, strict=True):
            bins = kaldi_log_mel(waveform[:length])
            if known.mean is not None and known.deviation is not None:
                bins = (bins - known.mean) / known.deviation
            pairs = bins[: len(bins) // 2 * 2].reshape(-1, row.shape[1])
            row[: len(pairs)] = pairs
        hidden: Tensor = self.feature_projection(features.to(waveforms.device, projection.weight.dtype))
        return hidden.masked_fill(~valid[:, :, None], 0)
