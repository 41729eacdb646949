"""Configs of the encoder families: the entries of transformers that shape a model or its training, within bounds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from semtok.errors import MOST_LAYERS, ConfigError, check_sizes

Activation = Literal["gelu", "gelu_new", "relu", "selu", "silu", "swish"]


@dataclass(frozen=True)
class EncoderConfig:
    """Entries of all families, by their names in transformers; one that is not in a file has transformers' default.

    Those from `initializer_range` on serve training, and are saved again with a model; semtok's encoders run without.
    """

    model_type: str
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    hidden_dropout: float = 0.1
    activation_dropout: float = 0.1
    attention_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    final_dropout: float = 0.1
    layerdrop: float = 0.1
    apply_spec_augment: bool = True
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10

    def __post_init__(self) -> None:
        check_sizes(self, "mask_time_length", "mask_feature_length")
        check_sizes(self, "hidden_size", "num_attention_heads", "intermediate_size")
        check_sizes(self, "num_hidden_layers", most=MOST_LAYERS)
        _check_choice(self, "hidden_act", get_args(Activation))
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(f"hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0 <= value <= 1:
                raise ConfigError(f"{field.name} must lie in 0 ... 1, got {value}")


@dataclass(frozen=True)
class ConvolutionalConfig(EncoderConfig):
    """Of the families that begin with convolutions on the waveform."""

    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False
    adapter_attn_dim: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice(self, "feat_extract_norm", ("group", "layer"))
        _check_choice(self, "feat_extract_activation", get_args(Activation))
        check_sizes(self, "conv_dim", "conv_stride", "conv_kernel", "adapter_attn_dim")
        check_sizes(self, "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", most=1 << 12)
        if not 0 < len(self.conv_dim) == len(self.conv_stride) == len(self.conv_kernel):
            raise ConfigError("conv_dim, conv_stride and conv_kernel must have a number for each convolution")
        if self.hidden_size % (groups := self.num_conv_pos_embedding_groups):
            raise ConfigError(
                f"hidden_size {self.hidden_size} is no multiple of {groups} num_conv_pos_embedding_groups"
            )


@dataclass(frozen=True)
class HubertConfig(ConvolutionalConfig):
    """HuBERT has two entries more."""

    conv_pos_batch_norm: bool = False
    feat_proj_layer_norm: bool = True


@dataclass(frozen=True)
class WavLMConfig(ConvolutionalConfig):
    """WavLM's relative positions are counted in buckets, half of them for positions before."""

    num_buckets: int = 320
    max_bucket_distance: int = 800

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "num_buckets", "max_bucket_distance")
        if not 1 <= self.num_buckets // 4 < self.max_bucket_distance:
            raise ConfigError(
                f"num_buckets must be at least 4, and max_bucket_distance more than a quarter of it, got "
                f"{self.num_buckets} and {self.max_bucket_distance}"
            )


@dataclass(frozen=True)
class Data2VecConfig(ConvolutionalConfig):
    """data2vec-audio has a stack of `num_conv_pos_embeddings` convolutions over frames."""

    feat_extract_norm: str = "layer"
    num_conv_pos_embeddings: int = 5
    conv_pos_kernel_size: int = 19

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "num_conv_pos_embeddings", most=MOST_LAYERS)
        check_sizes(self, "conv_pos_kernel_size")


@dataclass(frozen=True)
class FilterbankConfig(EncoderConfig):
    """w2v-BERT 2.0."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    hidden_act: str = "swish"
    hidden_dropout: float = 0.0
    activation_dropout: float = 0.0
    attention_dropout: float = 0.0
    feature_projection_input_dim: int = 160
    position_embeddings_type: str | None = "relative_key"
    left_max_position_embeddings: int = 64
    right_max_position_embeddings: int = 8
    conv_depthwise_kernel_size: int = 31

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice(self, "position_embeddings_type", ("relative_key", None))
        if self.feature_projection_input_dim != 160:
            raise ConfigError(f"feature_projection_input_dim must be 160, got {self.feature_projection_input_dim}")
        check_sizes(self, "left_max_position_embeddings", "right_max_position_embeddings")
        check_sizes(self, "conv_depthwise_kernel_size")
        if self.conv_depthwise_kernel_size % 2 == 0:
            raise ConfigError(f"conv_depthwise_kernel_size must be odd, got {self.conv_depthwise_kernel_size}")


CONFIGS: dict[str, type[EncoderConfig]] = {
    "data2vec-audio": Data2VecConfig,
    "hubert": HubertConfig,
    "unispeech-sat": ConvolutionalConfig,
    "wav2vec2": ConvolutionalConfig,
    "wav2vec2-bert": FilterbankConfig,
    "wavlm": WavLMConfig,
}
"""By `model_type`."""


def _check_choice(config: EncoderConfig, name: str, choices: tuple[str | None, ...]) -> None:
    if getattr(config, name) not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, choices))}, got {getattr(config, name)!r}")
