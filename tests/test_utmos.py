"""UTMOS from weights of random tiny networks, written under SpeechMOS's names."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from helpers import CLIPS, refuses
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from semtok import load_audio
from semtok.errors import CheckpointError
from semtok.evaluation.utmos import load_utmos

TO_FAIRSEQ = (
    ("feature_extractor.conv_layers.0.layer_norm.", "feature_extractor.conv_layers.0.2."),
    (r"(conv_layers.\d+).conv.", r"\1.0."),
    ("feature_projection.layer_norm.", "layer_norm."),
    ("feature_projection.projection.", "post_extract_proj."),
    ("masked_spec_embed", "mask_emb"),
    ("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g"),
    ("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v"),
    ("pos_conv_embed.conv.", "pos_conv.0."),
    (r"(layers.\d+).layer_norm.", r"\1.self_attn_layer_norm."),
    (".attention.", ".self_attn."),
    ("feed_forward.intermediate_dense", "fc1"),
    ("feed_forward.output_dense", "fc2"),
)


@pytest.fixture(scope="module")
def parts():
    """The modules of a tiny UTMOS, as its authors describe them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
        positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
        ssl = Wav2Vec2Model(Wav2Vec2Config(conv_dim=[8] * 7, **sizes, **positions)).eval()
        blstm = nn.LSTM(128 + 6 + 5, 7, batch_first=True, bidirectional=True)
        projection = nn.Sequential(nn.Linear(14, 9), nn.ReLU(), nn.Linear(9, 1))
        return ssl, blstm, projection, torch.randn(1, 6), torch.randn(1, 5)


@pytest.fixture(scope="module")
def file(parts, tmp_path_factory):
    ssl, blstm, projection, domain, judge = parts
    weights = {"domain_emb": domain, "judge_emb": judge}
    for name, tensor in ssl.state_dict().items():
        for pattern, replacement in TO_FAIRSEQ:
            name, count = re.subn(pattern, replacement, name)
            if count:
                break
        weights[f"wav2vec2.{name}"] = tensor
    weights |= {f"blstm.{name}": tensor for name, tensor in blstm.state_dict().items()}
    weights |= {f"projection.{name}": tensor for name, tensor in projection.state_dict().items()}
    path = tmp_path_factory.mktemp("utmos") / "utmos.pt"
    torch.save(weights, path)
    return path


def test_a_rating_is_that_of_the_networks_one_after_the_other(parts, file):
    ssl, blstm, projection, domain, judge = parts
    speech = load_audio(CLIPS[0], sample_rate=16000)[:16000]
    with torch.inference_mode():
        features = ssl(speech[None]).last_hidden_state
        constants = [one[:, None].expand(1, features.shape[1], -1) for one in (domain, judge)]
        frames = projection(blstm(torch.cat([features, *constants], dim=2))[0])
    utmos = load_utmos(file)
    assert utmos.rate(speech.numpy()) == pytest.approx(float(frames.mean() * 2 + 3), abs=1e-5)
    assert utmos.rate(speech.numpy()) != pytest.approx(utmos.rate(0.1 * np.sin(np.arange(16000), dtype=np.float32)))
    assert np.isnan(utmos.rate(speech[:300].numpy()))
    assert "utmos.pt" in utmos.name


def test_other_weights_are_refused(file, tmp_path):
    with refuses(CheckpointError, "nowhere"):
        load_utmos(tmp_path / "nowhere.pt")
    weights = torch.load(file, weights_only=True)
    for lost in ("wav2vec2.post_extract_proj.weight", "projection.2.bias"):
        torch.save({name: tensor for name, tensor in weights.items() if name != lost}, tmp_path / "other.pt")
        with refuses(CheckpointError, "no weights of UTMOS", "SpeechMOS"):
            load_utmos(tmp_path / "other.pt")
