"""ONNX files: any lengths, the same codes and waveforms as torch, and a script that runs them without torch."""

from __future__ import annotations

import json

import pytest
import torch
from checkpoints import make_tokenizer
from helpers import CLIPS, ROOT, refuses, run_python

from semtok import Vocoder, load_audio
from semtok.errors import CheckpointError, LayerError, SemtokError
from semtok.export import compare_onnx, export_onnx
from semtok.export.graphs import TokenizerGraph

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(tokenizer, istft_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "istft"
    export_onnx(folder, tokenizer, Vocoder.from_pretrained(istft_folder))
    return folder


def test_codes_and_waveforms_are_those_of_torch(exported, tokenizer, istft_folder):
    found = compare_onnx(exported, tokenizer, Vocoder.from_pretrained(istft_folder), CLIPS)
    assert found.codes == sum(tokenizer.encode(clip).codes.numel() for clip in CLIPS)
    assert found.equal + found.ties == found.codes and found.ties < 0.01 * found.codes
    assert found.waveform_difference < 1e-4


@pytest.mark.parametrize("encoder", ["hubert-base", "hubert-large"])
def test_quiet_recordings_are_normalised_as_torch_does(encoder):
    """Their variance is below the epsilon of the waveform, or of the group norm, which decides how loud they become."""
    tokenizer = make_tokenizer(encoder=encoder)
    graph = TokenizerGraph(tokenizer, tokenizer.layers)
    for path in CLIPS:
        quiet = 1e-5 * load_audio(path)
        assert quiet.var() < 1e-10
        with torch.inference_mode():
            codes = graph(quiet[None])
        assert (codes != tokenizer.encode(quiet).codes).float().mean() < 0.01  # near ties
        assert (codes != tokenizer.encode(load_audio(path)).codes).float().mean() > 0.1


RUN = """
import runpy, sys
sys.modules["torch"] = sys.modules["semtok"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_script_runs_without_torch(exported, tokenizer, tmp_path):
    script = ROOT / "examples" / "onnx_without_torch.py"
    printed = run_python("-c", RUN, script, exported, CLIPS[0], tmp_path / "out.wav")
    frames = tokenizer.encode(CLIPS[0]).codes.shape[2]
    assert f"{frames} frames" in printed
    assert load_audio(tmp_path / "out.wav").numel() == frames * tokenizer.hop_length


def test_the_command_writes_some_layers_and_compares_them(run, hifigan_folder, tmp_path):
    folder = tmp_path / "onnx"
    code, out, _ = run("export", "onnx", hifigan_folder, "-o", folder, "--layers", "4,1", "--check", CLIPS[0])
    assert code == 0 and "codes agree with torch" in out
    about = json.loads((folder / "semtok.json").read_text())
    assert about["rows"] == ["4", "1"] and about["codebook_sizes"] == [12, 40]
    code, _, err = run("export", "onnx", hifigan_folder, "-o", folder)
    assert code == 1 and "is not empty" in err


def test_what_cannot_be_exported(tokenizer, other_folder, tmp_path):
    with refuses(SemtokError, "of another tokenizer"):
        export_onnx(tmp_path / "a", tokenizer, Vocoder.from_pretrained(other_folder))
    with refuses(LayerError, "2"):
        export_onnx(tmp_path / "a", tokenizer, layers=[2])
    bert = make_tokenizer(encoder="wav2vec2-bert")
    with refuses(CheckpointError, "wav2vec2-bert", "takes filterbanks"):
        export_onnx(tmp_path / "a", bert)
    assert list(tmp_path.iterdir()) == []
