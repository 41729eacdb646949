"""Encoders of strangers: the config is read by a list of keys, and sizes come from the weights that are there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import ENCODERS, tiny_model
from safetensors.torch import load_file, save_file

from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import resolve
from semtok.encoder.config import CONFIGS
from semtok.encoder.families import FAMILIES
from semtok.errors import SemtokError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model("wavlm-base").save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def edit(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_every_family_has_its_list_of_keys():
    assert CONFIGS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", ENCODERS)
def test_what_the_list_leaves_out_does_not_matter(name, tmp_path):
    model = tiny_model(name)
    model.save_pretrained(tmp_path)
    before = model.state_dict()
    after = read_encoder(resolve(tmp_path), 3).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_config_chooses_no_other_weights(folder):
    state = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in state.items()}, folder / "other.safetensors", {"format": "pt"})
    edit(folder, transformers_weights="other.safetensors", quantization_config={"quant_method": "bitsandbytes"})
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "nobody/nothing", "peft_type": "LORA"}')
    model = read_encoder(resolve(folder), 3)
    assert torch.equal(model.state_dict()["encoder.layer_norm.weight"], state["encoder.layer_norm.weight"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"hidden_size": 1 << 20}, "does not fit the config.json"),
        ({"intermediate_size": 1 << 20}, "does not fit the config.json"),
        ({"hidden_size": 1 << 40}, "hidden_size must be at most"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be at most 256"),
        ({"conv_dim": [16] * 100}, "conv_dim must be at most 16 numbers"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ({"num_attention_heads": 5}, "no multiple of 5 heads"),
        ({"hidden_act": "xielu"}, "hidden_act must be one of"),
        ({"hidden_dropout": -1.0}, "must lie in 0 ... 1"),
        ({"layer_norm_eps": "0.1"}, "expected float, got '0.1'"),
        ({"conv_stride": [5, 2]}, "a number for each convolution"),
        ({"num_buckets": 3}, "num_buckets must be at least 4"),
        ({"num_conv_pos_embedding_groups": 7}, "hidden_size 32 is no multiple of 7 num_conv"),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused(entries, message, folder):
    edit(folder, **entries)
    with pytest.raises(SemtokError, match=message) as refused:
        read_encoder(resolve(folder), 3)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value, folder):
    state = load_file(folder / "model.safetensors")
    state["encoder.layer_norm.bias"][3] = value
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SemtokError, match=r"model\.safetensors: its tensor 'encoder.layer_norm.bias' has values that"):
        read_encoder(resolve(folder), 3)


def test_layers_above_are_not_read(folder):
    state = load_file(folder / "model.safetensors")
    state["encoder.layers.2.layer_norm.bias"][0] = float("nan")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    assert len(read_encoder(resolve(folder), 2).encoder.layers) == 2


def test_a_pickle_in_place_of_weights_runs_nothing(folder, tmp_path):
    shutil.move(folder / "model.safetensors", folder / "gone")
    marker = tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(f"cos\nmkdir\n(S'{marker}'\ntR.".encode())
    with pytest.raises(SemtokError, match=r"pytorch_model\.bin"):
        read_encoder(resolve(folder), 3)
    assert not marker.exists()
