"""Unit HiFi-GANs of fairseq: written by a generator in its layout, imported, and heard as that generator speaks."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import helpers
import pytest
import torch
from helpers import CLIPS
from torch import nn
from torch.nn.functional import leaky_relu
from torch.nn.utils import weight_norm

from semtok import Tokenizer, Vocoder
from semtok.checkpoints.importing import import_unit_vocoder
from semtok.errors import CheckpointError

refuses = partial(helpers.refuses, CheckpointError)
CONFIG = {
    "resblock": "1",
    "upsample_rates": [5, 4, 4, 2, 2],
    "upsample_kernel_sizes": [11, 8, 8, 4, 4],
    "upsample_initial_channel": 64,
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
    "num_embeddings": 12,
    "embedding_dim": 8,
    "model_in_dim": 8,
    "sampling_rate": 16000,
    "f0": False,
    "multispkr": None,
    "dur_predictor_params": {"encoder_embed_dim": 8},
}


def same(channels: int, kernel: int, dilation: int = 1, out: int | None = None) -> nn.Module:
    padding = dilation * (kernel - 1) // 2
    return weight_norm(nn.Conv1d(channels, out or channels, kernel, dilation=dilation, padding=padding))


class Block(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same(channels, kernel) for _ in dilations)

    def forward(self, x):
        for one, two in zip(self.convs1, self.convs2, strict=True):
            x = x + two(leaky_relu(one(leaky_relu(x, 0.1)), 0.1))
        return x


class CodeGenerator(nn.Module):
    """A unit HiFi-GAN with the names and the padding of fairseq's."""

    def __init__(self) -> None:
        super().__init__()
        channels = CONFIG["upsample_initial_channel"]
        self.dict = nn.Embedding(CONFIG["num_embeddings"], CONFIG["embedding_dim"])
        self.dur_predictor = nn.Linear(8, 1)
        self.conv_pre = same(CONFIG["embedding_dim"], 7, out=channels)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(CONFIG["upsample_rates"], CONFIG["upsample_kernel_sizes"], strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(weight_norm(up))
            channels //= 2
            for size, dilations in zip(CONFIG["resblock_kernel_sizes"], CONFIG["resblock_dilation_sizes"], strict=True):
                self.resblocks.append(Block(channels, size, dilations))
        self.conv_post = same(channels, 7, out=1)

    def forward(self, units):
        x = self.conv_pre(self.dict(units).transpose(1, 2))
        for number, up in enumerate(self.ups):
            x = up(leaky_relu(x, 0.1))
            x = sum(block(x) for block in self.resblocks[2 * number : 2 * number + 2]) / 2
        return torch.tanh(self.conv_post(leaky_relu(x)))[:, 0]


@pytest.fixture(scope="module")
def folder(tokenizer, istft_folder, tmp_path_factory) -> Path:
    """A generator and its config as fairseq writes them, and a tokenizer of its units."""
    folder = tmp_path_factory.mktemp("unit")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save({"generator": CodeGenerator().state_dict()}, folder / "g_00500000")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    Tokenizer.from_pretrained(istft_folder, layers=[4]).save_pretrained(folder / "tokenizer")
    return folder


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_unit_vocoder_speaks_as_before(folder, run):
    path = folder / "tokenizer"
    arguments = ("--config", folder / "config.json", "--tokenizer", path, "-o", path)
    code, printed, _ = run("import", "unit-vocoder", folder / "g_00500000", *arguments)
    assert code == 0 and "imported the vocoder" in printed
    tokenizer, vocoder = Tokenizer.from_pretrained(path), Vocoder.from_pretrained(path)
    tokens = tokenizer.encode(CLIPS[0])
    theirs = CodeGenerator()
    theirs.load_state_dict(torch.load(folder / "g_00500000", weights_only=True)["generator"])
    with torch.no_grad():
        expected = theirs(tokens.codes[:, 0])
    assert expected.std() > 1e-3
    assert torch.allclose(vocoder.decode(tokens), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"multispkr": "vctk"}, ["multispkr", "speakers or pitch are not supported"]),
        ({"f0": True}, ["(f0)"]),
        ({"resblock": "2"}, ["resblock is '2'"]),
        ({"num_embeddings": 100}, ["(100, 16000, 320)", "those of the tokenizer (12, 16000, 320)"]),
        ({"upsample_rates": None}, ["upsample_factors: expected tuple"]),
    ],
)
def test_other_generators_are_refused(folder, tmp_path, changes, parts):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    with pytest.raises(ValueError, match="(?s)" + ".*".join(map(helpers.re.escape, parts))):
        import_unit_vocoder(
            folder / "g_00500000", tmp_path / "out", config=tmp_path / "config.json", tokenizer=folder / "tokenizer"
        )
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_of_several_rows_and_other_weights_are_refused(folder, istft_folder, tmp_path):
    with refuses("those of the tokenizer ([40, 30, 12], 16000, 320)"):
        import_unit_vocoder(
            folder / "g_00500000", tmp_path / "out", config=folder / "config.json", tokenizer=istft_folder
        )
    torch.save({"discriminator": {}}, tmp_path / "do_00500000")
    with refuses("expected names and tensors"):
        import_unit_vocoder(
            tmp_path / "do_00500000", tmp_path / "out", config=folder / "config.json", tokenizer=folder / "tokenizer"
        )
    assert not (tmp_path / "out").exists()
