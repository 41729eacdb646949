"""Tiny random-weight encoders of every supported family and form, with the published front ends made narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

_TRANSFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.15,
    "apply_spec_augment": False,
}
_CONVOLUTIONS = {
    "conv_dim": (16,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "num_conv_pos_embedding_groups": 4,
}
_BASE = {"feat_extract_norm": "group", "conv_bias": False, "do_stable_layer_norm": False}
_LARGE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}

_ENCODERS: dict[str, tuple[Callable[[Any], PreTrainedModel], Callable[..., Any], dict[str, Any]]] = {
    "hubert-base": (transformers.HubertModel, transformers.HubertConfig, _BASE),
    "hubert-large": (transformers.HubertModel, transformers.HubertConfig, _LARGE),
    "hubert-batch-norm": (transformers.HubertModel, transformers.HubertConfig, {**_BASE, "conv_pos_batch_norm": True}),
    "wav2vec2-base": (transformers.Wav2Vec2Model, transformers.Wav2Vec2Config, _BASE),
    "wav2vec2-large": (transformers.Wav2Vec2Model, transformers.Wav2Vec2Config, _LARGE),
    "wavlm-base": (transformers.WavLMModel, transformers.WavLMConfig, _BASE),
    "wavlm-large": (transformers.WavLMModel, transformers.WavLMConfig, _LARGE),
    "unispeech-sat-base": (transformers.UniSpeechSatModel, transformers.UniSpeechSatConfig, _BASE),
    "unispeech-sat-large": (transformers.UniSpeechSatModel, transformers.UniSpeechSatConfig, _LARGE),
    # two entries that its model passes over
    "data2vec-audio": (
        transformers.Data2VecAudioModel,
        transformers.Data2VecAudioConfig,
        {**_BASE, "do_stable_layer_norm": True},
    ),
    "wav2vec2-bert": (transformers.Wav2Vec2BertModel, transformers.Wav2Vec2BertConfig, {}),
}

ENCODERS = tuple(_ENCODERS)
"""The names of all, in base (group norm, post-norm) and large (layer norm, pre-norm) forms where a family has both."""


def tiny_model(name: str, *, seed: int = 0, **config: Any) -> PreTrainedModel:
    """The model of that name, dim 32 and 3 layers unless `config` says otherwise; the same weights for a seed."""
    model_class, config_class, form = _ENCODERS[name]
    convolutions = {} if name == "wav2vec2-bert" else _CONVOLUTIONS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config_class(**{**_TRANSFORMER, **convolutions, **form, **config}))
        # Norms and biases start at ones and zeros, with which many a mistake would not show.
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    torch.nn.init.normal_(module.running_mean)
                    torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()
