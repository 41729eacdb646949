"""Tiny random-weight audio tokenizers of transformers: four codebooks of 32 codes each."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

_DAC = {
    "encoder_hidden_size": 4,
    "downsampling_ratios": [8, 5, 4, 2],
    "upsampling_ratios": [8, 5, 4, 2],
    "decoder_hidden_size": 32,
    "hidden_size": 64,
}
_TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def _dac():
    return transformers.DacModel(transformers.DacConfig(n_codebooks=4, codebook_size=32, codebook_dim=4, **_DAC))


def _encodec():
    shape = {"num_filters": 4, "hidden_size": 8, "num_lstm_layers": 1, "codebook_size": 32, "codebook_dim": 8}
    return transformers.EncodecModel(transformers.EncodecConfig(target_bandwidths=[0.75, 1.5], **shape))


def _mimi():
    quantizer = {"codebook_size": 32, "codebook_dim": 8, "vector_quantization_hidden_dimension": 8}
    heads = {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 20}
    return transformers.MimiModel(
        transformers.MimiConfig(
            num_filters=4, num_quantizers=4, upsample_groups=16, **quantizer, **heads, **_TRANSFORMER
        )
    )


def _xcodec():
    hubert = {"model_type": "hubert", "conv_dim": [8] * 7, "num_conv_pos_embedding_groups": 2, **_TRANSFORMER}
    return transformers.XcodecModel(
        transformers.XcodecConfig(
            acoustic_model_config={"model_type": "dac", **_DAC},
            semantic_model_config=hubert,
            codebook_size=32,
            target_bandwidths=[0.5, 1],
        )
    )


MODELS = {"dac": _dac, "encodec": _encodec, "mimi": _mimi, "xcodec": _xcodec}


def save_codec(kind: str, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[kind]().eval()
    # those of EnCodec, Mimi and X-codec begin as zeros, all of them one code; near what random encoders give
    for name, buffer in model.named_buffers():
        if name.endswith(("embed", "embed_sum")):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=torch.Generator().manual_seed(1)))
    model.save_pretrained(folder)
    return folder
