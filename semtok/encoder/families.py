"""The families of speech encoders, which differ in what precedes the transformer layers and in the layers themselves.

All families run the modules of transformers' own models, and keep padding out of the results. Wherever a module mixes
frames, the frames past a clip's end are reset to what the clip would see there by itself: zeros in a convolution, no
weight in attention, no share in a statistic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from semtok.audio.lengths import Framing
from semtok.encoder.front_end import FrontEnd, PositionConvolution, has_group_norm
from semtok.encoder.statistics import MelStatistics, RunningStatistics, Statistics, WaveformStatistics
from semtok.errors import CheckpointError

SAMPLE_RATE = 16000
"""Hz; all families were trained at this rate."""


class Family(Protocol):
    """How a base model of transformers computes layer 0 from waveforms, and each layer from the layer before it."""

    framing: Framing

    def running_statistics(self, *, normalize: bool, epsilon: float) -> RunningStatistics:
        """Statistics that `embed` needs of a recording, still without any samples; arguments as in `Encoder`."""

    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, statistics: Sequence[Statistics]
    ) -> Tensor:
        """Waveforms -> layer 0, [batch, frames, dim].

        Args:
            waveforms: float32 [batch, samples].
            lengths: samples of each clip.
            valid: bool [batch, frames], True for the frames of each clip. Values of other frames are arbitrary.
            statistics: for each clip, of the recording that the clip is, or is a piece of.
        """

    def attention_terms(self, frames: int, mask: Tensor | None) -> tuple[Tensor | None, ...]:
        """Terms that all layers add to their attention scores; the last arguments of `run_layer`.

        Args:
            frames: of the batch, padding included.
            mask: [batch, 1, 1, frames], -inf for padded keys; None, which is faster, if no key is padded.
        """

    def run_layer(self, layer: Any, hidden: Tensor, *terms: Tensor | None) -> Tensor:
        """The output of a transformer layer, of the same shape as its input, [batch, frames, dim]."""


class MaskedAttention:
    """Layers in which only attention mixes frames, or causal convolutions, which do not see padding after a clip."""

    def attention_terms(self, frames: int, mask: Tensor | None) -> tuple[Tensor | None, ...]:
        return (mask,)

    def run_layer(self, layer: Any, hidden: Tensor, *terms: Tensor | None) -> Tensor:
        (mask,) = terms
        output: Tensor = layer(hidden, attention_mask=mask)
        return output


class Convolutional(MaskedAttention):
    """HuBERT, wav2vec 2.0 and UniSpeech-SAT: convolutions on the waveform, then one over frames for the positions."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.framing = Framing(tuple(model.config.conv_kernel), tuple(model.config.conv_stride), SAMPLE_RATE)
        self._front_end = FrontEnd(model.feature_extractor.conv_layers, self.framing)
        embedding = model.encoder.pos_conv_embed
        if isinstance(getattr(embedding, "conv", None), nn.Conv1d):
            embedding.conv = PositionConvolution(embedding.conv)

    def running_statistics(self, *, normalize: bool, epsilon: float) -> RunningStatistics:
        first = self.model.feature_extractor.conv_layers[0]
        convolution = first.conv if has_group_norm(first) else None
        return WaveformStatistics(normalize=normalize, epsilon=epsilon, convolution=convolution)

    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, statistics: Sequence[Statistics]
    ) -> Tensor:
        return self.embed_frames(self._front_end(waveforms, lengths, statistics), ~valid[:, :, None])

    def embed_frames(self, frames: Tensor, padding: Tensor) -> Tensor:
        """Frames of the front end [batch, frames, channels] -> layer 0; `padding` is bool [batch, frames, 1]."""
        hidden: Any = self.model.feature_projection(frames)
        # Some families give the features before the projection as well.
        hidden = (hidden[0] if isinstance(hidden, tuple) else hidden).masked_fill(padding, 0)
        hidden = hidden + self._positions(hidden, padding)
        layer_zero: Tensor = hidden if _is_pre_norm(self.model) else self.model.encoder.layer_norm(hidden)
        return layer_zero

    def _positions(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """hidden [batch, frames, dim], 0 where padding bool [batch, frames, 1] -> position embeddings, same shape."""
        embedding = self.model.encoder.pos_conv_embed
        if getattr(embedding, "batch_norm", None) is not None:  # some HuBERT models
            hidden = embedding.batch_norm(hidden.transpose(1, 2)).transpose(1, 2).masked_fill(padding, 0)
        convolved = embedding.conv(hidden.transpose(1, 2)).transpose(1, 2)[:, : hidden.shape[1]]
        positions: Tensor = embedding.activation(convolved)
        return positions


class Data2Vec(Convolutional):
    """data2vec-audio: a stack of convolutions over frames for the positions."""

    def _positions(self, hidden: Tensor, padding: Tensor) -> Tensor:
        hidden, padding = hidden.transpose(1, 2), padding.transpose(1, 2)
        for layer in self.model.encoder.pos_conv_embed.layers:
            hidden = layer(hidden).masked_fill(padding, 0)
        return hidden.transpose(1, 2)


class WavLM(Convolutional):
    """WavLM: attention with a gated relative position bias; the table of layer 1 serves all layers."""

    def attention_terms(self, frames: int, mask: Tensor | None) -> tuple[Tensor | None, ...]:
        position_bias: Tensor = self.model.encoder.layers[0].attention.compute_bias(frames, frames)
        # Rows of one head side by side, as attention reads them.
        return position_bias.contiguous(), mask

    def run_layer(self, layer: Any, hidden: Tensor, *terms: Tensor | None) -> Tensor:
        position_bias, mask = terms
        assert position_bias is not None
        if _is_pre_norm(self.model):
            hidden = hidden + _gated_attention(layer.attention, layer.layer_norm(hidden), position_bias, mask)
            hidden = hidden + layer.feed_forward(layer.final_layer_norm(hidden))
        else:
            hidden = layer.layer_norm(hidden + _gated_attention(layer.attention, hidden, position_bias, mask))
            hidden = layer.final_layer_norm(hidden + layer.feed_forward(hidden))
        return hidden


class Filterbank(MaskedAttention):
    """w2v-BERT 2.0: log-mel filterbanks, in pairs, under conformer layers with causal convolutions."""

    def __init__(self, model: Any) -> None:
        from transformers import SeamlessM4TFeatureExtractor

        if model.config.position_embeddings_type not in ("relative_key", None):
            # With other types the model has a cache, which threads would share.
            raise CheckpointError(
                f"w2v-BERT with position embeddings of type {model.config.position_embeddings_type!r} is not "
                "supported, only 'relative_key' as in w2v-BERT 2.0"
            )
        self.model = model
        self.extractor: Any = SeamlessM4TFeatureExtractor(stride=1)
        # The extractor's window and hop, then its pairing of filterbank frames.
        self.framing = Framing((400, 2), (160, 2), SAMPLE_RATE)

    def running_statistics(self, *, normalize: bool, epsilon: float) -> RunningStatistics:
        # Without normalisation the samples count in no statistic.
        if not normalize:
            return WaveformStatistics(normalize=False, epsilon=epsilon, convolution=None)
        return MelStatistics(self._filterbank, window=self.framing.kernels[0], hop_length=self.framing.strides[0])

    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, statistics: Sequence[Statistics]
    ) -> Tensor:
        # Up to the projection on the CPU, as the statistics are float64, which not every device has.
        features = torch.zeros(*valid.shape, 2 * self.extractor.num_mel_bins)
        for row, waveform, length, known in zip(features, waveforms.cpu(), lengths, statistics, strict=True):
            bins = self._filterbank(waveform[:length])
            if known.mean is not None and known.deviation is not None:
                bins = (bins - known.mean) / known.deviation
            pairs = bins[: len(bins) // 2 * 2].reshape(-1, row.shape[1])
            row[: len(pairs)] = pairs
        hidden: Tensor = self.model.feature_projection(features.to(waveforms.device, self.model.dtype))[0]
        return hidden.masked_fill(~valid[:, :, None], 0)

    def _filterbank(self, samples: Tensor) -> Tensor:
        """Samples [samples], at least one window -> log-mel energies float32 [steps, bins], a step for each window."""
        # On the CPU, where the extractor computes.
        extracted = self.extractor(
            samples.numpy(),
            sampling_rate=self.extractor.sampling_rate,
            do_normalize_per_mel_bins=False,
            pad_to_multiple_of=1,
            return_attention_mask=False,
            return_tensors="pt",
        )
        bins: Tensor = extracted["input_features"][0]
        return bins


FAMILIES: dict[str, Callable[[Any], Family]] = {
    "data2vec-audio": Data2Vec,
    "hubert": Convolutional,
    "unispeech-sat": Convolutional,
    "wav2vec2": Convolutional,
    "wav2vec2-bert": Filterbank,
    "wavlm": WavLM,
}
"""By `config.model_type` of transformers."""


def _is_pre_norm(model: Any) -> bool:
    return bool(getattr(model.config, "do_stable_layer_norm", False))


def _gated_attention(attention: Any, hidden: Tensor, position_bias: Tensor, mask: Tensor | None) -> Tensor:
    """Self-attention of WavLM (Chen et al., 2022, arXiv 2110.13900, section III-B).

    Written out because transformers' module computes attention weights that nobody needs.

    Args:
        attention: module of a layer.
        hidden: [batch, frames, dim]; the result has the same shape.
        position_bias: [heads, frames, frames].
        mask: as in `attention_terms`.
    """

    def heads(projected: Tensor) -> Tensor:
        return projected.reshape(*hidden.shape[:2], attention.num_heads, -1).transpose(1, 2)

    gates = attention.gru_rel_pos_linear(heads(hidden)).unflatten(3, (2, 4)).sum(4)
    gate_a, gate_b = torch.sigmoid(gates).chunk(2, dim=3)
    bias = (gate_a * (gate_b * attention.gru_rel_pos_const - 1) + 2) * position_bias
    if mask is not None:
        bias += mask
    query, key, value = (heads(project(hidden)) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
    attended = scaled_dot_product_attention(query, key, value, attn_mask=bias)
    output: Tensor = attention.out_proj(attended.transpose(1, 2).flatten(2))
    return output
