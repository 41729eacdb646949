"""The families of speech encoders: what differs between them before and inside the transformer layers.

They run the modules of transformers' own models, with one rule added: padding takes part in nothing. Where a module
mixes frames, what lies past a clip's end is put back to what the clip alone would see there: zeros in a convolution, no
weight in attention, no share in a statistic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from semtok.errors import CheckpointError
from semtok.frames import frame_count

RunLayer = Callable[[Any, Tensor], Tensor]
"""(transformer layer, hidden [batch, frames, dim]) -> its raw output, of the same shape."""


class Family(Protocol):
    """One way from waveforms to layer 0, and from a layer to the next, of a base model of transformers."""

    kernels: Sequence[int]
    """Of the convolutions that make frames of samples, in samples and then in frames of the convolution before."""

    strides: Sequence[int]

    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, normalize: bool, epsilon: float
    ) -> Tensor:
        """Layer 0 [batch, frames, dim] of waveforms float32 [batch, samples] with lengths in samples.

        Valid frames are True in `valid`, bool [batch, frames]; the others come out as they will.
        """

    def layer_runner(self, valid: Tensor, dtype: torch.dtype) -> RunLayer:
        """What runs a layer on a batch whose valid frames are these: bool [batch, frames]."""


class Convolutional:
    """HuBERT, wav2vec 2.0 and UniSpeech-SAT: convolutions on the waveform, then one over frames for the positions."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.kernels: Sequence[int] = model.config.conv_kernel
        self.strides: Sequence[int] = model.config.conv_stride

    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, normalize: bool, epsilon: float
    ) -> Tensor:
        padding = ~valid[:, :, None]
        waveforms = _clean_inputs(waveforms, lengths, normalize, epsilon)
        hidden: Any = self._convolve(waveforms.to(self.model.dtype), lengths)
        hidden = self.model.feature_projection(hidden)
        # Some families give the features before the projection as well.
        hidden = (hidden[0] if isinstance(hidden, tuple) else hidden).masked_fill(padding, 0)
        hidden = hidden + self._positions(hidden.transpose(1, 2), padding.transpose(1, 2)).transpose(1, 2)
        layer_zero: Tensor = hidden if _is_pre_norm(self.model) else self.model.encoder.layer_norm(hidden)
        return layer_zero

    def _convolve(self, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        """waveforms [batch, samples] -> [batch, frames, conv_dim]. Unpadded, so valid frames see only their clip."""
        hidden = waveforms[:, None]
        for depth, layer in enumerate(self.model.feature_extractor.conv_layers, start=1):
            if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
                hidden = layer.conv(hidden)
                # Its statistics run over time. Clip by clip, so that they are summed in the same order as alone, too.
                for clip, samples in zip(hidden, lengths, strict=True):
                    frames = frame_count(samples, self.kernels[:depth], self.strides[:depth])
                    clip[:, :frames] = layer.layer_norm(clip[None, :, :frames])[0]
                hidden = layer.activation(hidden)
            else:
                hidden = layer(hidden)
        return hidden.transpose(1, 2)

    def _positions(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """hidden [batch, dim, frames], 0 where padding bool [batch, 1, frames] -> position embeddings, same shape."""
        embedding = self.model.encoder.pos_conv_embed
        if getattr(embedding, "batch_norm", None) is not None:  # some HuBERT models
            hidden = embedding.batch_norm(hidden).masked_fill(padding, 0)
        positions: Tensor = embedding.activation(embedding.padding(embedding.conv(hidden)))
        return positions

    def layer_runner(self, valid: Tensor, dtype: torch.dtype) -> RunLayer:
        mask = _attention_mask(valid, dtype)
        return lambda layer, hidden: layer(hidden, attention_mask=mask)


class Data2Vec(Convolutional):
    """data2vec-audio: a stack of convolutions over frames for the positions."""

    def _positions(self, hidden: Tensor, padding: Tensor) -> Tensor:
        for layer in self.model.encoder.pos_conv_embed.layers:
            hidden = layer(hidden).masked_fill(padding, 0)
        return hidden


class WavLM(Convolutional):
    """WavLM: attention with a gated relative position bias, whose table stands in layer 1 and serves all."""

    def layer_runner(self, valid: Tensor, dtype: torch.dtype) -> RunLayer:
        frames = valid.shape[1]
        position_bias = self.model.encoder.layers[0].attention.compute_bias(frames, frames)
        mask = _attention_mask(valid, dtype)

        def run_layer(layer: Any, hidden: Tensor) -> Tensor:
            if _is_pre_norm(self.model):
                hidden = hidden + _gated_attention(layer.attention, layer.layer_norm(hidden), position_bias, mask)
                hidden = hidden + layer.feed_forward(layer.final_layer_norm(hidden))
            else:
                hidden = layer.layer_norm(hidden + _gated_attention(layer.attention, hidden, position_bias, mask))
                hidden = layer.final_layer_norm(hidden + layer.feed_forward(hidden))
            return hidden

        return run_layer


class Filterbank:
    """w2v-BERT 2.0: log-mel filterbanks, in pairs, under conformer layers with causal convolutions."""

    def __init__(self, model: Any) -> None:
        from transformers import SeamlessM4TFeatureExtractor

        if model.config.position_embeddings_type not in ("relative_key", None):
            # The others keep a cache inside the model, which threads would share.
            raise CheckpointError(
                f"w2v-BERT with position embeddings of type {model.config.position_embeddings_type!r} is not "
                "supported, only 'relative_key' as in w2v-BERT 2.0"
            )
        self.model = model
        self.extractor: Any = SeamlessM4TFeatureExtractor()
        # The extractor's window and hop, then its pairing of filterbank frames.
        self.kernels: Sequence[int] = (400, 2)
        self.strides: Sequence[int] = (160, 2)

    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, normalize: bool, epsilon: float
    ) -> Tensor:
        clips = [waveform[:length].cpu().numpy() for waveform, length in zip(waveforms, lengths, strict=True)]
        # Clips are treated one by one in there, and padded afterwards.
        features = self.extractor(
            clips, sampling_rate=self.extractor.sampling_rate, do_normalize_per_mel_bins=normalize, return_tensors="pt"
        )["input_features"][:, : valid.shape[1]]
        hidden: Tensor = self.model.feature_projection(features.to(waveforms.device, self.model.dtype))[0]
        return hidden.masked_fill(~valid[:, :, None], 0)

    def layer_runner(self, valid: Tensor, dtype: torch.dtype) -> RunLayer:
        mask = _attention_mask(valid, dtype)
        # The convolutions are causal: padding, which comes last, is not seen by valid frames.
        return lambda layer, hidden: layer(hidden, attention_mask=mask)


FAMILIES: dict[str, Callable[[Any], Family]] = {
    "data2vec-audio": Data2Vec,
    "hubert": Convolutional,
    "unispeech-sat": Convolutional,
    "wav2vec2": Convolutional,
    "wav2vec2-bert": Filterbank,
    "wavlm": WavLM,
}
"""By `config.model_type` of transformers."""


def _clean_inputs(waveforms: Tensor, lengths: Sequence[int], normalize: bool, epsilon: float) -> Tensor:
    """A copy, 0 past each length; if asked, clips have zero mean and unit variance, as of Wav2Vec2FeatureExtractor."""
    inputs = torch.zeros_like(waveforms)
    for row, waveform, length in zip(inputs, waveforms, lengths, strict=True):
        clip = waveform[:length]
        row[:length] = (clip - clip.mean()) / torch.sqrt(clip.var(correction=0) + epsilon) if normalize else clip
    return inputs


def _is_pre_norm(model: Any) -> bool:
    return bool(getattr(model.config, "do_stable_layer_norm", False))


def _attention_mask(valid: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Added to attention scores: [batch, 1, 1, frames], -inf for padded keys; None, which is faster, if all count."""
    if valid.all():
        return None
    return torch.zeros(valid.shape, dtype=dtype, device=valid.device).masked_fill(~valid, -torch.inf)[:, None, None]


def _gated_attention(attention: Any, hidden: Tensor, position_bias: Tensor, mask: Tensor | None) -> Tensor:
    """Self-attention of WavLM (Chen et al., 2022, arXiv 2110.13900, section III-B).

    hidden [batch, frames, dim], position_bias [heads, frames, frames], mask as of `_attention_mask` -> as hidden.
    Written out because transformers' module computes the attention weights only to average them.
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
