"""The command line: what it writes and prints, how it fails, and that its help comes at once."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import soundfile
import torch
from encoders import tiny_model
from helpers import CLIPS, ROOT, files_in

from semtok import Tokenizer, Tokens, Vocoder, load_audio
from semtok.checkpoints.hub import bundled_names
from semtok.checkpoints.speechbrain.published import CODEBOOKS, PUBLISHED
from semtok.cli import main
from semtok.downstream.bundled_models import BUNDLED_BY_NAME
from semtok.encoder.batches import Schedule

SMOKE = ROOT / "configs" / "smoke"


@pytest.fixture
def checkpoint(istft_folder):
    return istft_folder


@pytest.fixture
def speech(tmp_path):
    """A folder of clips, one of them in a subfolder, with something in it that is no audio."""
    folder = tmp_path / "speech"
    (folder / "female").mkdir(parents=True)
    shutil.copy(CLIPS[0], folder / "one.flac")
    shutil.copy(CLIPS[1], folder / "female" / "two.v1.flac")
    (folder / "notes.txt").write_text("no audio")
    (folder / "._one.flac").write_bytes(b"left behind by a system")
    return folder


def assert_same_tokens(tokens, other):
    assert torch.equal(tokens.codes, other.codes)
    assert (tokens.layers, tokens.fingerprint) == (other.layers, other.fingerprint)


# --- encode


def test_encode_writes_a_file_of_tokens_for_each_clip_of_a_folder(run, checkpoint, speech, tmp_path):
    code, out, err = run("encode", speech, "-o", tmp_path / "tokens", "-c", checkpoint)
    assert (code, err) == (0, f"left out of {speech}: 1 .txt, 1 hidden\n")
    assert out.startswith("encoded 2 files, ")
    assert out.count("\n") == 1
    assert files_in(tmp_path / "tokens") == ["female/two.v1.safetensors", "one.safetensors"]
    tokenizer = Tokenizer.from_pretrained(checkpoint)
    assert_same_tokens(Tokens.load(tmp_path / "tokens" / "one.safetensors"), tokenizer.encode(CLIPS[0]))
    assert_same_tokens(Tokens.load(tmp_path / "tokens" / "female" / "two.v1.safetensors"), tokenizer.encode(CLIPS[1]))


def test_encode_one_file_to_one_file_with_the_layers_asked_for(run, checkpoint, tmp_path):
    target = tmp_path / "new" / "x.safetensors"
    code, _, _ = run("encode", CLIPS[0], "-o", target, "-c", checkpoint, "--layers", "3,1")
    assert code == 0
    assert_same_tokens(Tokens.load(target), Tokenizer.from_pretrained(checkpoint).encode(CLIPS[0], layers=[3, 1]))


def test_encode_reads_more_than_one_batch(run, checkpoint, speech, tmp_path, monkeypatch):
    monkeypatch.setattr("semtok.encoder.batches.CPU", Schedule(batch_seconds=1, workers=2, running=2))
    code, out, _ = run("encode", speech, CLIPS[2], "-o", tmp_path / "tokens", "-c", checkpoint)
    assert (code, out[:15]) == (0, "encoded 3 files")
    assert len(files_in(tmp_path / "tokens")) == 3


def test_encode_reports_bad_files_and_goes_on(run, checkpoint, speech, tmp_path):
    (speech / "broken.flac").write_bytes(CLIPS[0].read_bytes()[:3000])
    (speech / "empty.wav").write_bytes(b"")
    soundfile.write(speech / "short.wav", np.full(300, 0.1, np.float32), 16000)
    soundfile.write(speech / "silent.wav", np.zeros(0, np.float32), 16000)
    code, out, err = run("encode", speech, "-o", tmp_path / "tokens", "-c", checkpoint)
    assert code == 1
    assert out.startswith("encoded 2 files")
    assert out.endswith("4 failed\n")
    assert files_in(tmp_path / "tokens") == ["female/two.v1.safetensors", "one.safetensors"]
    *failures, left_out = err.splitlines()
    assert left_out == f"left out of {speech}: 1 .txt, 1 hidden"
    told = [re.search(r"(\w+)\.(?:flac|wav)\b", line)[1] for line in failures]
    assert sorted(told) == ["broken", "empty", "short", "silent"]
    assert f"failed: {speech / 'short.wav'} has 300 samples at 16000 Hz, fewer than the 400" in err
    assert f"failed: {speech / 'silent.wav'} is empty (0 samples)" in err


def test_existing_outputs_are_replaced_or_with_skip_existing_kept(run, checkpoint, speech, tmp_path):
    target = tmp_path / "tokens" / "one.safetensors"
    target.parent.mkdir()
    target.write_bytes(b"older")
    code, out, _ = run("encode", speech, "-o", tmp_path / "tokens", "-c", checkpoint, "--skip-existing")
    assert code == 0
    assert out.startswith("encoded 1 file,")
    assert out.endswith("1 skipped\n")
    assert target.read_bytes() == b"older"
    code, _, _ = run("encode", speech, "-o", tmp_path / "tokens", "-c", checkpoint)
    assert code == 0
    assert Tokens.load(target).layers == (1, 3, 4)


def test_an_interrupted_encode_leaves_whole_files_only(run, checkpoint, speech, tmp_path, monkeypatch):
    save, calls = Tokens.save, []

    def interrupted(self, path):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        save(self, path)

    monkeypatch.setattr(Tokens, "save", interrupted)
    code, out, err = run("encode", speech, "-o", tmp_path / "tokens", "-c", checkpoint)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert [Path(name).suffix for name in files_in(tmp_path / "tokens")] == [".safetensors"]


def test_a_second_ctrl_c_ends_at_once():
    """While a command still tidies up after the first one."""
    code = """
import time
from semtok.cli import app, main

@app.command()
def wait():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(60)

main(["wait"])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # where the tests run in the background of a script, its shell has their children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in ("begun", "ending"):
        assert process.stdout.readline().strip() == line
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


def test_the_bar_is_drawn_on_stderr_and_in_a_terminal_only(run, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal
    monkeypatch.setenv("TERM", "xterm")
    _, out, err = run("encode", CLIPS[0], "-o", tmp_path / "x.safetensors", "-c", checkpoint)
    assert "encoding" in err
    assert "1/1" in err
    assert "encoding" not in out


def test_outputs_that_cannot_be_written_are_reported_and_the_others_are(run, checkpoint, speech, tmp_path):
    (tmp_path / "tokens" / "one.safetensors").mkdir(parents=True)
    long = speech / ("a" * 250 + ".wav")
    shutil.copy(CLIPS[0], long)  # its output would have too long a name
    shutil.copy(CLIPS[2], speech / os.fsdecode(b"caf\xe9.flac"))
    (speech / "gone.wav").symlink_to("nowhere")
    code, out, err = run("encode", speech, "-o", tmp_path / "tokens", "-c", checkpoint)
    assert code == 1
    assert out.startswith("encoded 2 files")
    assert out.endswith("3 failed\n")
    made = [path.name for path in sorted((tmp_path / "tokens").rglob("*")) if path.is_file()]
    assert made == [os.fsdecode(b"caf\xe9.safetensors"), "two.v1.safetensors"]
    assert len(Tokens.load(tmp_path / "tokens" / made[0])) == 1
    for source in (speech / "one.flac", long, speech / "gone.wav"):
        assert str(source) in err


def test_links_are_followed_and_outputs_below_the_input_are_no_input(run, checkpoint, speech, tmp_path):
    (tmp_path / "real").mkdir()
    shutil.copy(CLIPS[2], tmp_path / "real" / "three.flac")
    (speech / "linked").symlink_to(tmp_path / "real")
    (speech / "female" / "loop").symlink_to(speech)
    for skip in ([], ["--skip-existing"]):
        code, out, err = run("resynth", speech, "-o", speech / "wavs", "-c", checkpoint, *skip)
        assert (code, err) == (0, f"left out of {speech}: 1 .txt, 1 hidden, 1 link to a folder around it\n")
        assert files_in(speech / "wavs") == ["female/two.v1.wav", "linked/three.wav", "one.wav"]
    assert out == "resynthesised 0 files, 3 skipped\n"


def test_a_manifest_chooses_what_is_encoded(run, checkpoint, speech, tmp_path):
    (speech / "manifest.csv").write_text("path,text\nfemale/two.v1.flac,hello\n")
    for source, left_out in (
        (speech, f"left out of {speech}: 1 .txt, 1 hidden, 1 not in a manifest\n"),
        (
            speech / "manifest.csv",
            "",
        ),
    ):
        target = tmp_path / f"from {source.stem}"
        code, _, err = run("encode", source, "-o", target, "-c", checkpoint)
        assert (code, err) == (0, left_out)
        assert files_in(target) == ["female/two.v1.safetensors"]


class Stream:
    """Stands for standard input or output."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


def test_standard_input_and_output(run, checkpoint, tmp_path, monkeypatch):
    tokens = Tokenizer.from_pretrained(checkpoint).encode(CLIPS[0])
    expected = Vocoder.from_pretrained(checkpoint).decode(tokens)[0]

    def pipe(command, content):
        monkeypatch.setattr(sys, "stdin", Stream(content))
        monkeypatch.setattr(sys, "stdout", stdout := Stream())
        code, _, err = run(command, "-", "-o", "-", "-c", checkpoint)
        assert code == 0
        assert " 1 file, " in err  # the summary
        return stdout.buffer.getvalue()

    encoded = pipe("encode", CLIPS[0].read_bytes())
    (tmp_path / "a.safetensors").write_bytes(encoded)
    assert_same_tokens(Tokens.load(tmp_path / "a.safetensors"), tokens)
    for wave in (pipe("decode", encoded), pipe("resynth", CLIPS[0].read_bytes())):
        torch.testing.assert_close(load_audio(wave), expected, atol=1e-4, rtol=0)
    monkeypatch.setattr(sys, "stdin", Stream(CLIPS[0].read_bytes()))
    code, out, err = run("encode", "-", "-o", tmp_path / "folder", "-c", checkpoint)
    assert (code, out, files_in(tmp_path / "folder")) == (0, "", ["stdin.safetensors"])
    assert err.startswith("encoded 1 file")


# --- decode, resynth


def encoded(checkpoint, clips, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    tokens = Tokenizer.from_pretrained(checkpoint).encode(clips)
    tokens.save(path)
    return tokens


@pytest.mark.parametrize("layers", [None, "4,1", "3"])
def test_decode_gives_what_the_vocoder_gives(run, checkpoint, tmp_path, layers):
    tokens = encoded(checkpoint, CLIPS[0], tmp_path / "tokens" / "sub" / "a.safetensors")
    chosen = [] if layers is None else ["--layers", layers]
    code, out, err = run("decode", tmp_path / "tokens", "-o", tmp_path / "wav", "-c", checkpoint, *chosen)
    assert (code, err) == (0, "")
    assert out.startswith("decoded 1 file, ")
    assert files_in(tmp_path / "wav") == ["sub/a.wav"]
    expected = Vocoder.from_pretrained(checkpoint).decode(
        tokens, layers=None if layers is None else [int(layer) for layer in layers.split(",")]
    )
    torch.testing.assert_close(load_audio(tmp_path / "wav" / "sub" / "a.wav"), expected[0], atol=1e-4, rtol=0)


def test_decode_numbers_the_utterances_of_a_batch(run, checkpoint, tmp_path):
    tokens = encoded(checkpoint, CLIPS, tmp_path / "all.safetensors")
    code, _, _ = run("decode", tmp_path / "all.safetensors", "-o", tmp_path / "wav" / "all.flac", "-c", checkpoint)
    assert code == 0
    assert files_in(tmp_path / "wav") == ["all-0.flac", "all-1.flac", "all-2.flac"]
    samples = [soundfile.info(path).frames for path in sorted((tmp_path / "wav").iterdir())]
    assert samples == [320 * length for length in tokens.lengths.tolist()]
    code, out, _ = run(
        *("decode", tmp_path / "all.safetensors", "-o", tmp_path / "wav" / "all.flac", "-c", checkpoint),
        "--skip-existing",
    )
    assert (code, out) == (0, "decoded 0 files, 1 skipped\n")


def test_decode_reports_bad_tokens_and_goes_on(run, checkpoint, other_folder, tmp_path):
    own = encoded(checkpoint, CLIPS[0], tmp_path / "tokens" / "own.safetensors")
    other = encoded(other_folder, CLIPS[0], tmp_path / "tokens" / "foreign.safetensors")
    own.select([1]).save(tmp_path / "tokens" / "shallow.safetensors")
    (tmp_path / "tokens" / "broken.safetensors").write_bytes(b"no tokens")
    code, out, err = run("decode", tmp_path / "tokens", "-o", tmp_path / "wav", "-c", checkpoint, "-l", "1,3")
    assert code == 1
    assert out.endswith("3 failed\n")
    assert files_in(tmp_path / "wav") == ["own.wav"]
    broken, foreign, shallow = err.splitlines()
    assert f"cannot read tokens from {tmp_path / 'tokens' / 'broken.safetensors'} (9 bytes)" in broken
    assert "foreign.safetensors: these tokens are of tokenizer " + other.fingerprint in foreign
    assert own.fingerprint in foreign
    assert "shallow.safetensors: this Tokens has no layers [3], only [1]" in shallow


def test_resynth_is_encode_and_decode(run, checkpoint, speech, tmp_path):
    code, out, err = run("resynth", speech, "-o", tmp_path / "wav", "--layers", "1,3", "-c", checkpoint)
    assert (code, err) == (0, f"left out of {speech}: 1 .txt, 1 hidden\n")
    assert out.startswith("resynthesised 2 files, ")
    assert files_in(tmp_path / "wav") == ["female/two.v1.wav", "one.wav"]
    tokens = Tokenizer.from_pretrained(checkpoint).encode(CLIPS[0], layers=[1, 3])
    expected = Vocoder.from_pretrained(checkpoint).decode(tokens)
    torch.testing.assert_close(load_audio(tmp_path / "wav" / "one.wav"), expected[0], atol=1e-4, rtol=0)


# --- info


def test_info_describes_a_checkpoint(run, checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "mine")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A model\n")
    code, out, err = run("info", folder)
    assert (code, err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines() if line)
    assert facts["path"] == str(folder)
    assert facts["licence"] == "cc-by-4.0"
    assert facts["encoder"].startswith("hubert, 4 layers of 32, 0.1 M parameters")
    assert facts["vocoder"].startswith("inverse STFT generator, layers 1, 3, 4, speech at 16000 Hz, 0.0 M parameters")
    assert facts["fingerprint"] == Tokenizer.from_pretrained(folder).fingerprint
    assert facts["bitrate"] == "691 bit/s with all layers"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert facts["size"] == f"on disk  {size / 1e3:.2f} kB"
    assert [line.split() for line in out.splitlines()[-2:]] == [["3", "30", "245"], ["4", "12", "179"]]


def test_info_gives_numbers_to_programs(run, checkpoint, tmp_path):
    facts = json.loads(run("info", checkpoint, "--json")[1])
    tokenizer = Tokenizer.from_pretrained(checkpoint)
    assert (facts["fingerprint"], facts["layers"]) == (tokenizer.fingerprint, list(tokenizer.layers))
    assert (facts["sample_rate"], facts["hop_length"], facts["frame_rate"]) == (16000, 320, 50.0)
    assert facts["rows"][0] == {"row": "1", "codebook_size": 40}
    tokens = tokenizer.encode(CLIPS[0])
    tokens.save(tmp_path / "one.safetensors")
    facts = json.loads(run("info", tmp_path / "one.safetensors", "--json")[1])
    assert facts["shape"] == list(tokens.codes.shape) and facts["seconds"] == pytest.approx(tokens.durations.tolist())


def test_info_does_not_fetch_an_encoder_from_the_hub(run, tmp_path):
    hub = {"encoder": "nobody/none", "encoder_revision": "a1b2"}
    tokenizer = Tokenizer.from_centroids(tiny_model("hubert-base"), {1: torch.randn(4, 32)}, normalize=True, **hub)
    tokenizer.save_pretrained(tmp_path)
    code, out, _ = run("info", tmp_path)
    assert code == 0
    assert "encoder       nobody/none at a1b2: not downloaded yet\n" in out
    assert "vocoder       none\n" in out
    assert "licence       not stated" in out


def test_info_describes_a_file_of_tokens(run, checkpoint, tmp_path):
    tokens = encoded(checkpoint, CLIPS, tmp_path / "all.safetensors")
    code, out, err = run("info", tmp_path / "all.safetensors")
    assert (code, err) == (0, "")
    for fact in (list(tokens.codes.shape), tokens.fingerprint, "50 Hz", "691 bit/s", f"{tokens.durations.sum():.2f} s"):
        assert str(fact) in out


# --- models


def test_models_lists_what_goes_by_name(run):
    code, out, err = run("models")
    assert (code, err) == (0, "")
    listed = {}
    for block in out.strip().split("\n\n"):
        name, *lines = block.splitlines()
        listed[name] = dict(line.split(maxsplit=1) for line in lines)
    models = [name for name, model in BUNDLED_BY_NAME.items() if model.is_there]
    assert list(listed) == [*bundled_names(), *models, *PUBLISHED, CODEBOOKS]
    for name, facts in listed.items():
        only = {"command", "tokens", "reads"} if name in models else {"encoder", "K", "data", "layers"}
        assert only | {"licence", "size"} <= set(facts)
    assert listed["tiny"]["layers"] == ", ".join(map(str, Tokenizer.from_pretrained("tiny").layers))
    wavlm = listed["speechbrain/hifigan-wavlm-k1000-LibriTTS"]
    assert (wavlm["encoder"], wavlm["layers"], wavlm["K"]) == ("microsoft/wavlm-large", "1, 3, 7, 12, 18, 23", "1000")
    assert "91.1 MB" in wavlm["size"]
    single = listed["speechbrain/tts-hifigan-unit-hubert-l6-k100-ljspeech"]
    assert (single["K"], single["licence"], single["size"]) == ("100", "see its page", "-")
    # a reference voice is heard in all layers, and speech is made of two
    assert (listed["tiny-tts"]["reads"], listed["tiny-tts"]["makes"]) == ("layers 1, 3, 5, 7", "layers 5, 7")
    assert json.loads(run("models", "--json")[1]) == [{"name": name, **facts} for name, facts in listed.items()]


# --- train, evaluate


@pytest.mark.parametrize("step", ["encoder", "kmeans", "vocoder"])
def test_train_runs_the_step_of_the_training_module(run, tmp_path, monkeypatch, step):
    from semtok.cli import learning

    made = tmp_path / "my run" / "best"
    monkeypatch.setattr(learning, "run_step", called := create_autospec(learning.run_step, return_value=made))
    config = tmp_path / "step.yaml"
    config.touch()
    code, out, _ = run("train", step, config, "--set", "steps=3", "--set", "a.b=c")
    assert code == 0 and out.startswith(f"{made}\ngo on with: semtok ") and f"'{made}'" in out
    called.assert_called_once_with(step, str(config), ["steps=3", "a.b=c"])


def test_train_tells_what_is_wrong_in_a_config(run, tmp_path):
    config = tmp_path / "step.yaml"
    config.write_text("stepz: 3\n")
    code, _, err = run("train", "kmeans", config)
    assert code == 1
    assert err.startswith(f"error: {config}: ")
    assert "stepz" in err


def test_evaluate_measures_the_subsets_asked_for(run, checkpoint, speech, tmp_path, monkeypatch):
    import semtok.evaluation as evaluation

    report = tmp_path / "report.md"
    report.write_text("| the table |")
    measure, write = create_autospec(evaluation.evaluate_resynthesis), create_autospec(evaluation.write_report)
    write.return_value = (report, tmp_path / "report.json", tmp_path / "report.png")
    load = create_autospec(evaluation.load_judges)
    load.return_value = evaluation.Judges(missing=("No WER: get it there",))
    monkeypatch.setattr(evaluation, "load_judges", load)
    monkeypatch.setattr(evaluation, "evaluate_resynthesis", measure)
    monkeypatch.setattr(evaluation, "write_report", write)
    arguments = ("evaluate", "resynthesis", "--checkpoint", checkpoint, "--audio", speech, "-o", tmp_path / "out")
    code, out, err = run(*arguments, "--layers", "1", "--layers", "1,3", "--recognizer", "me/mine", "--language", "de")
    assert (code, err) == (0, "No WER: get it there\n")
    where = {"device": "cpu", "dtype": "float32", "local_files_only": False}
    load.assert_called_once_with("me/mine", None, utmos=None, language="de", **where)
    assert measure.call_args.kwargs["judges"] is load.return_value
    tokenizer, vocoder, audio = measure.call_args.args
    assert tokenizer.fingerprint == vocoder.fingerprint
    assert audio == str(speech)
    assert measure.call_args.kwargs["subsets"] == [(1,), (1, 3)]
    assert write.call_args.args == (measure.return_value, tmp_path / "out")
    assert "| the table |" in out
    assert "report.png" in out


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        ("accelerate", "train", ("train", "vocoder", SMOKE / "vocoder.yaml")),
        ("pystoi", "eval", ("evaluate", "resynthesis", "--audio", CLIPS[0].parent, "-o", "report")),
    ],
)
def test_a_missing_extra_prints_the_pip_command(run, checkpoint, tmp_path, monkeypatch, module, extra, command):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*command, *(["-c", checkpoint] if extra == "eval" else []))
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert module in err
    assert err.endswith(f"in the clone of semtok: pip install '.[{extra}]'\n")
    assert files_in(tmp_path) == []


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("encode one.flac", "Missing option"),
        ("encode -o out", "Missing argument"),
        ("encode none.flac -o out", "'none.flac' does not exist"),
        ("encode empty -o out", "no audio in empty: expected a folder of .wav, .flac, .ogg"),
        ("encode female one.flac -o -", "standard output can take one file only"),
        ("encode one.flac female -o out.safetensors", "out.safetensors can take one file only"),
        ("encode female -o out.safetensors", "out.safetensors can take one file only"),
        ("encode one.flac female -o notes.txt", "notes.txt is a file: give a folder"),
        ("encode one.flac -o out.tokens", "out.tokens does not end in .safetensors"),
        ("encode one.flac again/one.flac -o out", "would both be written to out/one.safetensors"),
        ("encode one.flac -o out --layers 1,3a", "expected numbers such as 1,3,7, or names, got '1,3a'"),
        ("encode one.flac -o out --device nowhere", "torch cannot use 'nowhere' here"),
        ("encode one.flac -o out --nothing", "No such option"),
        ("resynth one.flac -o one.flac", "one.flac is an input and would be overwritten"),
        ("resynth female wavs -o wavs", "wavs/three.wav is an input and would be overwritten"),
        ("decode wavs -o out", "there are no .safetensors files in wavs"),
        ("train kmeans", "Missing argument"),
        ("train kmeans none.yaml", "'none.yaml' does not exist"),
        ("train everything notes.txt", "there is no step 'everything', known are encoder"),
        ("evaluate resynthesis --audio none -o out", "'none' does not exist"),
        ("listen", "No such command"),
    ],
)
def test_wrong_usage(run, speech, monkeypatch, arguments, message):
    monkeypatch.chdir(speech)
    for folder in ("empty", "again", "wavs"):
        Path(folder).mkdir()
    shutil.copy("one.flac", "again")
    soundfile.write("wavs/three.wav", np.zeros(1600), 16000)
    before = files_in(speech)
    code, out, err = run(*arguments.split())
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert files_in(speech) == before
    assert not Path("out").exists()


def test_errors_of_the_library_are_one_line(run, checkpoint, tmp_path):
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    weights = broken / "vocoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "file").touch()
    for arguments, message in [
        (("encode", CLIPS[0], "-c", checkpoint, "-l", "1,2"), f"{checkpoint} has no layers [2], only [1, 3, 4]"),
        (("resynth", CLIPS[0], "-c", checkpoint, "-l", "2"), f"the vocoder of {checkpoint} has no layers [2]"),
        (("encode", CLIPS[0], "-c", checkpoint, "-l", "1,1"), "once"),
        (("encode", CLIPS[0], "-c", "none"), "'none' is no checkpoint: expected a bundled name"),
        (("encode", CLIPS[0], "-c", tmp_path), "has no file config.json"),
        (("encode", CLIPS[0], "-c", "no/body", "--local-files-only"), "only local files were asked for"),
        (("resynth", CLIPS[0], "-c", broken), "vocoder.safetensors (1000 bytes) cannot be loaded"),
    ]:
        code, out, err = run(*arguments, "-o", tmp_path / "out")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert err.startswith("error: ")
        assert message in err
        assert not (tmp_path / "out").exists()
    code, _, err = run("encode", CLIPS[0], "-c", checkpoint, "-o", tmp_path / "file" / "out")
    assert (code, err) == (1, f"failed: {CLIPS[0]}: [Errno 20] Not a directory: '{tmp_path / 'file' / 'out'}'\n")
    code, _, err = run("info", broken)
    assert (code, err.count("\n")) == (1, 1)
    code, _, err = run("info", tmp_path / "none.safetensors")
    assert code == 1
    assert "there is no file" in err


def test_an_unexpected_error_keeps_its_traceback(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(Tokens, "save", create_autospec(Tokens.save, side_effect=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        main(["encode", str(CLIPS[0]), "-o", str(tmp_path), "-c", str(checkpoint)])


# --- help


LEVELS = ["", "encode", "decode", "resynth", "info", "models", "train", "train encoder", "transcribe", "evaluate"]
LEVELS += ["evaluate resynthesis", "import", "import kmeans", "import speechbrain"]
HELP = """
import sys, typer
before = set(sys.modules)
from semtok.cli import main
try:
    main([*sys.argv[1:], "--help"])
except SystemExit as end:
    assert end.code == 0
loaded = set(sys.modules) - before
print(sorted(loaded & {"torch", "transformers", "numpy", "soundfile", "scipy", "huggingface_hub"}), len(loaded))
"""


@pytest.mark.parametrize("level", LEVELS)
def test_help_comes_at_once(level):
    """By what it imports beside typer, as times depend on what else a machine does."""
    arguments = [sys.executable, "-c", HELP, *level.split()]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    heavy, count = re.fullmatch(r"(\[.*\]) (\d+)", printed.splitlines()[-1]).groups()
    assert f"Usage: semtok {level}" in printed
    assert heavy == "[]" and int(count) < 200


def commands(command, name=""):
    """Every command that does something, by its full name."""
    for own, inner in command.commands.items():
        full = f"{name} {own}".strip()
        yield from commands(inner, full) if hasattr(inner, "commands") else [(full, inner)]


def test_every_command_has_a_short_summary_and_an_example_that_it_takes():
    import typer

    from semtok.cli import app
    from semtok.cli.groups import EXAMPLES

    told = set()
    for name, command in commands(typer.main.get_command(app)):
        example = "train" if name.startswith("train ") else name
        told.add(example)
        assert command.epilog == f"Example: {EXAMPLES[example]}"
        if " " not in name:
            summary = command.get_short_help_str(1000)
            assert len(summary) <= 45 and not summary.endswith(".")
        words = shlex.split(EXAMPLES[example])[1 + len(name.split()) :]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known
    assert told == EXAMPLES.keys()


def test_help_is_in_groups_and_never_cut(run):
    code, out, _ = run("-h")
    assert code == 0 and "..." not in out.split("Speech and tokens:")[1]
    assert [line for line in out.splitlines() if line.endswith(":")][2:] == [
        "Which layers:",
        "Tasks on tokens:",
        "Corpora and training:",
        "Checkpoints:",
    ]
    assert run("encode", "-h")[1] == run("encode", "--help")[1]


def test_version(run):
    from semtok import __version__

    assert run("--version") == (0, f"semtok {__version__}\n", "")
