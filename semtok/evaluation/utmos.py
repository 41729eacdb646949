"""UTMOS: how natural speech sounds, as listeners would rate it; from the weights that SpeechMOS publishes.

The strong learner without its phoneme encoder: wav2vec 2.0, with constant embeddings of a corpus and a listener, then a
bidirectional LSTM and two linear layers a frame. Source: Saeki et al., "UTMOS: UTokyo-SaruLab System for VoiceMOS
Challenge 2022", 2022. The file is `utmos22_strong_step7459_v1.pt` of the release v1.0.0 of github.com/tarepan/SpeechMOS
(MIT), a dict of tensors, which is read without executing anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semtok.checkpoints.untrusted import read_state_dict
from semtok.errors import CheckpointError
from semtok.evaluation.metrics import Waveform
from semtok.networks.precision import exact_float32

UTMOS_WEIGHTS = "utmos22_strong_step7459_v1.pt"
_STRIDES = (5, 2, 2, 2, 2, 2, 2)
_HEAD_DIM = 64
_SSL = "wav2vec2."
# The names of SpeechMOS, which are fairseq's, and those of transformers, in the order in which they are tried.
_NAMES = (
    (r"^feature_extractor\.conv_layers\.0\.2\.", "feature_extractor.conv_layers.0.layer_norm."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^mask_emb$", "masked_spec_embed"),
    (r"^encoder\.pos_conv\.0\.weight_g$", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"^encoder\.pos_conv\.0\.weight_v$", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"^(encoder\.layers\.\d+\.)self_attn_layer_norm\.", r"\1layer_norm."),
    (r"^(encoder\.layers\.\d+\.)self_attn\.", r"\1attention."),
    (r"^(encoder\.layers\.\d+\.)fc1\.", r"\1feed_forward.intermediate_dense."),
    (r"^(encoder\.layers\.\d+\.)fc2\.", r"\1feed_forward.output_dense."),
)


class Utmos:
    """Rates speech from 1 to 5; `name` is that of the file."""

    def __init__(self, name: str, network: UtmosNetwork) -> None:
        self.name, self._network = name, network

    @torch.inference_mode()
    def rate(self, waveform: Waveform) -> float:
        """The rating of float32 [samples] at 16 kHz; NaN below a frame of 25 ms."""
        if len(waveform) < self._network.minimum_samples:
            return float("nan")
        device = self._network.domain_emb.device
        with exact_float32(device):
            return float(self._network(torch.from_numpy(waveform)[None].to(device)))


class UtmosNetwork(nn.Module):
    """Of the sizes that a state dict of SpeechMOS has.

    Raises:
        KeyError: the dict lacks a tensor that tells a size.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        from transformers import Wav2Vec2Model

        super().__init__()
        self.wav2vec2 = Wav2Vec2Model(_config(weights))
        self.domain_emb = nn.Parameter(torch.empty_like(weights["domain_emb"]))
        self.judge_emb = nn.Parameter(torch.empty_like(weights["judge_emb"]))
        width, inputs = weights["blstm.weight_hh_l0"].shape[1], weights["blstm.weight_ih_l0"].shape[1]
        self.blstm = nn.LSTM(inputs, width, batch_first=True, bidirectional=True)
        hidden = weights["projection.0.weight"].shape[0]
        self.projection = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    @property
    def minimum_samples(self) -> int:
        """Of one frame."""
        samples = 1
        config = self.wav2vec2.config
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def forward(self, waveforms: Tensor) -> Tensor:
        """Waveforms [batch, samples] at 16 kHz -> ratings [batch]."""
        features = self.wav2vec2(waveforms).last_hidden_state
        constant = torch.cat([self.domain_emb, self.judge_emb], dim=1).expand(*features.shape[:2], -1)
        hidden, _ = self.blstm(torch.cat([features, constant], dim=2))
        ratings: Tensor = 2 * self.projection(hidden).mean(dim=1)[:, 0] + 3
        return ratings


def load_utmos(path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Utmos:
    """UTMOS from a file of SpeechMOS.

    Raises:
        CheckpointError: there is no such file, or it holds other weights.
    """
    weights = read_state_dict(path)
    try:
        network = UtmosNetwork(weights)
        network.load_state_dict(dict(_renamed(name, tensor) for name, tensor in weights.items()))
    # torch says in a RuntimeError which names or shapes are others
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise CheckpointError(
            f"{path} holds no weights of UTMOS ({type(error).__name__}: {reason}): expected {UTMOS_WEIGHTS} of "
            "github.com/tarepan/SpeechMOS, release v1.0.0"
        ) from error
    return Utmos(f"UTMOS22 strong, {Path(path).name}", network.to(device).eval())


def _renamed(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    if not name.startswith(_SSL):
        return name, tensor
    own = name.removeprefix(_SSL)
    for pattern, replacement in _NAMES:
        own, count = re.subn(pattern, replacement, own)
        if count:
            break
    return _SSL + own, tensor


def _config(weights: Mapping[str, Tensor]) -> Any:
    """That of the wav2vec 2.0 inside, by the shapes of its weights."""
    from transformers import Wav2Vec2Config

    of_ssl = {name.removeprefix(_SSL): tensor for name, tensor in weights.items() if name.startswith(_SSL)}
    convolutions = [of_ssl[f"feature_extractor.conv_layers.{number}.0.weight"] for number in range(len(_STRIDES))]
    layers = {match[1] for name in of_ssl if (match := re.match(r"encoder\.layers\.(\d+)\.", name))}
    hidden = of_ssl["post_extract_proj.weight"].shape[0]
    _, of_group, kernel = of_ssl["encoder.pos_conv.0.weight_v"].shape
    return Wav2Vec2Config(
        hidden_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, hidden // _HEAD_DIM),
        intermediate_size=of_ssl["encoder.layers.0.fc1.weight"].shape[0],
        conv_dim=[weight.shape[0] for weight in convolutions],
        conv_kernel=[weight.shape[2] for weight in convolutions],
        conv_stride=list(_STRIDES),
        num_conv_pos_embeddings=kernel,
        num_conv_pos_embedding_groups=hidden // of_group,
    )
