"""What is not SpeechBrain's published layout, or not a vocoder that semtok has, is refused by what is wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from published_layout import write_vocoder
from speechbrain_reference import Reference, load_tokenizer, load_vocoder
from torch import Tensor

from semtok.errors import CheckpointError


@pytest.mark.parametrize(
    "entry, message",
    [
        ("multi_speaker: True", r"multi_speaker is True.*conditioned on speakers"),
        ("cond_channels: 192", r"cond_channels is 192.*conditioned on speakers"),
        ("skip_token_embedding: True", "skip_token_embedding is True"),
        ("resblock_type: '2'", "resblock_type is '2'"),
        ("pooling_type: sum", "pooling_type is 'sum'"),
        ("resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 2, 4]]", "must be equal lists"),
        ("upsample_factors: !ref <nothing>", "'<nothing>' leads nowhere"),
        ("upsample_factors: !ref <upsample_factors>", "'<upsample_factors>' leads nowhere"),
        ("upsample_factors: five", "upsample_factors"),
        ("upsample_factors: [4, 4, 4, 2, 2]", "larger by an even number"),
    ],
)
def test_generators_of_other_kinds_are_refused(wavlm: Reference, tmp_path: Path, entry: str, message: str) -> None:
    folder = tmp_path / "vocoder"
    shutil.copytree(wavlm.folder / "new", folder)
    name = entry.split(":")[0]
    lines = (folder / "hyperparams.yaml").read_text().splitlines()
    kept = [line for line in lines if not line.strip().startswith(f"{name}:")]
    (folder / "hyperparams.yaml").write_text("\n".join([entry, *kept]))
    with pytest.raises(ValueError, match=message):
        load_vocoder(folder)


def test_weights_that_do_not_fit_are_refused(wavlm: Reference, tmp_path: Path) -> None:
    def refused(state: Mapping[str, Tensor], message: str) -> None:
        shutil.rmtree(tmp_path / "vocoder", ignore_errors=True)
        shutil.copytree(wavlm.folder / "new", tmp_path / "vocoder")
        write_vocoder(tmp_path / "vocoder", state, wavlm.settings)
        with pytest.raises(CheckpointError, match=message):
            load_vocoder(tmp_path / "vocoder")

    state = wavlm.generator
    refused(
        {**state, "unit_embedding.weight": torch.zeros(41, 24)},
        r"\[41, 24\], expected 61 rows: one, and 20 for each of the 3",
    )
    refused({**state, "cond_layer.conv.weight": torch.zeros(1)}, "cond_layer.conv.weight")
    direction = "conv_pre.conv.parametrizations.weight.original1"
    refused({name: tensor for name, tensor in state.items() if name != direction}, "but no conv_pre.*original1")
    refused({name: tensor for name, tensor in state.items() if name != "unit_embedding.weight"}, "is missing")


def test_encoders_that_do_not_fit_are_refused(wavlm: Reference, tmp_path: Path) -> None:
    shutil.copytree(wavlm.encoder, tmp_path / "encoder")
    config = tmp_path / "encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_size": 768}))
    with pytest.raises(CheckpointError, match=r"have shape \[20, 32\], expected \[20, 768\]"):
        load_tokenizer(wavlm.folder / "new", str(tmp_path / "encoder"))
    (tmp_path / "encoder" / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        load_tokenizer(wavlm.folder / "new", str(tmp_path / "encoder"))
