"""Repositories in SpeechBrain's published layout, for the tests and for the benchmark that asks SpeechBrain itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import torch
from helpers import DATA
from safetensors.torch import save_file
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from semtok import load_audio

_HYPERPARAMETERS = """\
# A vocoder as SpeechBrain publishes it: numbers, and tags that name Python classes.
sample_rate: 16000

vocab_size: {vocab_size}
embedding_dim: {embedding_dim}
in_channels: {embedding_dim}
out_channels: 1
resblock_type: "1"
resblock_dilation_sizes: {dilations}
resblock_kernel_sizes: {kernels}
upsample_kernel_sizes: {upsample_kernels}
upsample_initial_channel: {channels}
upsample_factors: {factors}
inference_padding: 5
cond_channels: 0
conv_post_bias: True
attn_dim: {attention_dim}

generator: !new:speechbrain.lobes.models.HifiGAN.UnitHifiganGenerator
  in_channels: !ref <in_channels>
  out_channels: !ref <out_channels>
  resblock_type: !ref <resblock_type>
  resblock_dilation_sizes: !ref <resblock_dilation_sizes>
  resblock_kernel_sizes: !ref <resblock_kernel_sizes>
  upsample_kernel_sizes: !ref <upsample_kernel_sizes>
  upsample_initial_channel: !ref <upsample_initial_channel>
  upsample_factors: !ref <upsample_factors>
  inference_padding: !ref <inference_padding>
  cond_channels: !ref <cond_channels>
  conv_post_bias: !ref <conv_post_bias>
  vocab_size: !ref <vocab_size>
  embedding_dim: !ref <embedding_dim>
  attn_dim: !ref <attn_dim>

modules:
  generator: !ref <generator>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
  loadables:
    generator: !ref <generator>
"""


def reference_clips() -> dict[str, Tensor]:
    """What the references in data/speechbrain answer to: a second of speech as it is, quiet, and with an offset."""
    speech = load_audio(DATA / "libri_84-121123-0001.flac")[8000:24000]
    return {"speech": speech, "quiet": speech * 0.01, "offset": speech + 0.05}


def vocoder_settings(vocab_size: int, embedding_dim: int, attention_dim: int, channels: int) -> dict[str, Any]:
    """What differs between vocoders; the rest is as in all published ones."""
    return {
        "vocab_size": vocab_size,
        "embedding_dim": embedding_dim,
        "attention_dim": attention_dim,
        "channels": channels,
        "dilations": [[1, 3, 5]] * 3,
        "kernels": [3, 7, 11],
        "upsample_kernels": [11, 8, 8, 4, 4],
        "factors": [5, 4, 4, 2, 2],
    }


def write_vocoder(folder: Path, state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    """Writes `generator.ckpt` and `hyperparams.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({name: tensor.contiguous() for name, tensor in state.items()}, folder / "generator.ckpt")
    (folder / "hyperparams.yaml").write_text(_HYPERPARAMETERS.format(**settings))


def write_codebooks(folder: Path, centroids: Mapping[int, Tensor], name: str) -> None:
    """Writes a fitted MiniBatchKMeans a layer, in float64 as the published ones; `name` has a place for {layer}."""
    for layer, points in centroids.items():
        kmeans = MiniBatchKMeans(len(points), n_init=1, max_iter=1, init=points.double().numpy())
        kmeans.fit(points.double().numpy()).cluster_centers_ = points.double().numpy()
        path = folder / name.format(layer=layer)
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(kmeans, path)


def write_encoder(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], *, normalize: bool) -> None:
    """Writes an encoder as transformers' models lie on the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, default=str))
    preprocessor = {
        "do_normalize": normalize,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0,
        "return_attention_mask": True,
        "sampling_rate": 16000,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))


def older_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with weight normalisation named as by torch's older function for it."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for name, tensor in state.items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = tensor
    return renamed
