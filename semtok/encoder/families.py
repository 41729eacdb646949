"""The families of speech encoders, as models of semtok's own that take the weights of transformers' models.

`assemble` makes one of a config and weights, `adopt` of a model of transformers, whose weights it shares. Importing
transformers takes longer than torch and everything else together, and none of it is needed to encode speech.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from semtok.audio.lengths import Framing
from semtok.encoder.config import CONFIGS, ConvolutionalConfig, EncoderConfig
from semtok.encoder.conformer import Filterbank
from semtok.encoder.front_end import SAMPLE_RATE, FrontEnd
from semtok.encoder.layers import Attention, TransformerLayer, layer_norm
from semtok.encoder.model import Projection, SpeechModel, Stack
from semtok.encoder.positions import PositionConvolution, PositionEmbedding, StackedPositions
from semtok.encoder.statistics import RunningStatistics, Statistics, WaveformStatistics
from semtok.encoder.wavlm import GatedAttention
from semtok.errors import CheckpointError
from semtok.networks.outline import without_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ConvolutionalStack(Stack):
    """The layers behind position embeddings, and the norm before the layers that have theirs after, or after all."""

    def __init__(self, layers: Sequence[nn.Module], positions: nn.Module, norm: nn.LayerNorm) -> None:
        super().__init__(layers)
        self.pos_conv_embed = positions
        self.layer_norm = norm


class Convolutional(SpeechModel):
    """HuBERT, wav2vec 2.0 and UniSpeech-SAT: convolutions on the waveform, then one over frames for the positions."""

    config: ConvolutionalConfig
    encoder: ConvolutionalStack

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.framing = Framing(config.conv_kernel, config.conv_stride, SAMPLE_RATE)
        self.feature_extractor = FrontEnd(config)
        normalized = getattr(config, "feat_proj_layer_norm", True)
        self.feature_projection = Projection(config, config.conv_dim[-1], normalized=normalized)
        layers = [self._layer(config, number) for number in range(config.num_hidden_layers)]
        self.encoder = ConvolutionalStack(layers, self._positions(config), layer_norm(config))

    def _positions(self, config: Any) -> nn.Module:
        return PositionEmbedding(config)

    def _layer(self, config: Any, number: int) -> nn.Module:
        return TransformerLayer(config, Attention(config), config.adapter_attn_dim)

    def running_statistics(self, *, normalize: bool, epsilon: float) -> RunningStatistics:
        first = self.feature_extractor.layers[0]
        convolution = first.conv if isinstance(first.layer_norm, nn.GroupNorm) else None
        return WaveformStatistics(normalize=normalize, epsilon=epsilon, convolution=convolution)

    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, statistics: Sequence[Statistics]
    ) -> Tensor:
        return self.embed_frames(self.feature_extractor(waveforms, lengths, statistics), ~valid[:, :, None])

    def embed_frames(self, frames: Tensor, padding: Tensor) -> Tensor:
        """Frames of the front end [batch, frames, channels] -> layer 0; `padding` is bool [batch, frames, 1]."""
        hidden: Tensor = self.feature_projection(frames).masked_fill(padding, 0)
        hidden = hidden + self.encoder.pos_conv_embed(hidden, padding)
        return hidden if self.config.do_stable_layer_norm else self.encoder.layer_norm(hidden)


class Data2Vec(Convolutional):
    """data2vec-audio: a stack of convolutions over frames for the positions, and one form of norms whatever is said."""

    def __init__(self, config: Any) -> None:
        super().__init__(dataclasses.replace(config, feat_extract_norm="layer", do_stable_layer_norm=False))

    def _positions(self, config: Any) -> nn.Module:
        return StackedPositions(config)


class WavLM(Convolutional):
    """WavLM: attention with a gated relative position bias; the table of layer 1 serves all layers."""

    def _layer(self, config: Any, number: int) -> nn.Module:
        return TransformerLayer(config, GatedAttention(config, has_table=number == 0))

    def attention_terms(self, frames: int, mask: Tensor | None) -> tuple[Tensor | None, ...]:
        attention: Any = self.encoder.layers[0].attention
        return attention.position_bias(frames), mask


FAMILIES: dict[str, Callable[[Any], SpeechModel]] = {
    "data2vec-audio": Data2Vec,
    "hubert": Convolutional,
    "unispeech-sat": Convolutional,
    "wav2vec2": Convolutional,
    "wav2vec2-bert": Filterbank,
    "wavlm": WavLM,
}
"""By `model_type`, the same as `CONFIGS`."""


def outline(config: EncoderConfig) -> SpeechModel:
    """The model of a config on the meta device, where weights take no memory."""
    with without_weights():
        return FAMILIES[config.model_type](config)


def assemble(config: EncoderConfig, weights: Mapping[str, Tensor]) -> SpeechModel:
    """The model of a config with these weights, which it shares. Weights that it does not need are left out.

    Raises:
        CheckpointError: weights are missing or of another shape.
    """
    model = outline(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    given = {name: weights[name].shape for name in shapes if name in weights}
    if wrong := [name for name, shape in shapes.items() if given.get(name) != shape]:
        shown = {name: list(given[name]) if name in given else "nothing" for name in wrong[:10]}
        listed = ", ".join(f"{name} is {shape} for {list(shapes[name])}" for name, shape in shown.items())
        raise CheckpointError(f"missing or of another shape: {listed}")
    model.load_state_dict({name: weights[name] for name in shapes}, assign=True)
    for module in model.modules():
        if isinstance(module, FrontEnd | PositionConvolution):
            module.prepare()
    return model


def adopt(model: PreTrainedModel) -> SpeechModel:
    """A base model of transformers as semtok runs it, with the layers that it has; the weights are shared.

    Raises:
        CheckpointError: a model of another family, or not a base model.
        ConfigError: its config has an entry that semtok cannot run.
    """
    kind = model.config.model_type
    if kind not in FAMILIES:
        raise CheckpointError(f"an encoder of type {kind!r} is not supported; those that are: {', '.join(FAMILIES)}")
    entries = model.config.to_dict()
    known = [field.name for field in dataclasses.fields(CONFIGS[kind]) if field.name in entries]
    values: dict[str, Any]
    values = {name: tuple(entries[name]) if isinstance(entries[name], list) else entries[name] for name in known}
    encoder: Any = model.encoder
    return assemble(CONFIGS[kind](**values | {"num_hidden_layers": len(encoder.layers)}), model.state_dict())
