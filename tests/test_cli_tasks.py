"""The commands of the tasks, on models of random weights."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from checkpoints import CLIPS
from task_models import HEADS, make_model

from semtok import load_audio
from semtok.errors import ConfigError
from semtok.training.downstream.witten_bell import estimate, spell
from semtok.training.steps import train


@pytest.fixture(scope="module")
def models(tokenizer, istft_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in HEADS:
        make_model(name, tokenizer, source=str(istft_folder)).save_pretrained(folder / name)
    return folder


@pytest.fixture
def speech(tmp_path) -> Path:
    """A folder of two clips and a broken one."""
    folder = tmp_path / "speech"
    folder.mkdir()
    for clip in CLIPS[:2]:
        shutil.copy(clip, folder)
    (folder / "broken.wav").write_bytes(b"no audio")
    return folder


def test_transcribe_prints_a_line_a_file_and_tells_what_failed(run, models, speech):
    code, out, err = run("transcribe", speech, "--model", models / "lstm", "--weights")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and "broken.wav" in err
    assert {line["path"] for line in lines} == {str(speech / clip.name) for clip in CLIPS[:2]}
    for line in lines:
        assert set(line["text"]) <= set(" 'ABCDEHLORW")
        assert list(line["weights"]) == ["1", "3", "4"] and sum(line["weights"].values()) == pytest.approx(1, abs=1e-4)


def test_transcribe_reads_standard_input(run, models, monkeypatch):
    _, named, _ = run("transcribe", CLIPS[0], "-m", models / "conformer", "--beam", 3)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CLIPS[0].read_bytes())))
    code, out, _ = run("transcribe", "-", "-m", models / "conformer", "--beam", 3)
    assert code == 0
    assert json.loads(out) == json.loads(named) | {"path": "-"}


def test_classify_and_verify(run, models):
    code, out, _ = run("classify", CLIPS[0], "-m", models / "ecapa")
    answer = json.loads(out)
    assert code == 0 and answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    code, out, _ = run("verify", CLIPS[0], CLIPS[0], "-m", models / "verifier")
    assert code == 0 and json.loads(out)["same"] is True


def test_enhance_writes_as_many_files(run, models, speech, tmp_path):
    code, out, err = run("enhance", speech, "-o", tmp_path / "clean", "-m", models / "enhancer")
    assert code == 1 and "broken.wav" in err and out.startswith("enhanced 2 files")
    written = sorted(path.name for path in (tmp_path / "clean").iterdir())
    assert written == sorted(f"{clip.stem}.wav" for clip in CLIPS[:2])


def test_a_model_that_hears_features_is_given_the_audio(run, istft_folder, tokenizer, speech, tmp_path):
    hears = {"feature_dim": tokenizer.encoder.dim}
    make_model("enhancer", tokenizer, source=str(istft_folder), **hears).save_pretrained(tmp_path / "enhancer")
    code, out, err = run("enhance", speech, "-o", tmp_path / "clean", "-m", tmp_path / "enhancer")
    assert code == 1 and "broken.wav" in err and out.startswith("enhanced 2 files")
    assert len(list((tmp_path / "clean").iterdir())) == 2
    make_model("conformer", tokenizer, source=str(istft_folder), **hears).save_pretrained(tmp_path / "asr")
    code, out, err = run("transcribe", speech, "-m", tmp_path / "asr", "--weights")
    assert code == 1 and "broken.wav" in err and len(out.splitlines()) == 2


def test_a_language_model_leads_what_is_transcribed(run, models, tmp_path):
    estimate(map(spell, ["HELLO WORLD"]), 3).save(tmp_path / "hello.arpa")
    options = ["transcribe", CLIPS[0], "-m", models / "conformer", "--beam", 3]
    _, plain, _ = run(*options)
    code, led, _ = run(*options, "--language-model", tmp_path / "hello.arpa", "--lm-weight", 3)
    assert code == 0 and json.loads(led)["text"] != json.loads(plain)["text"]
    (tmp_path / "no.arpa").write_text("no model")
    code, _, err = run(*options, "--language-model", tmp_path / "no.arpa")
    assert code == 1 and "no line \\data\\" in err


def test_speak_writes_a_file(run, models, tmp_path, monkeypatch):
    target = tmp_path / "hello.wav"
    code, _, err = run("speak", "Hello world", "-o", target, "-m", models / "synthesizer", "--speaker", "bert")
    assert code == 0 and str(target) in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello world\n"))
    run("speak", "-", "-o", tmp_path / "again.wav", "-m", models / "synthesizer", "--speaker", "bert")
    assert load_audio(target).equal(load_audio(tmp_path / "again.wav"))
    code, _, err = run("speak", "Hello 42", "-o", target, "-m", models / "synthesizer")
    assert code == 1 and "write numbers as words" in err


def test_what_is_not_there_is_told(run, models, tmp_path):
    code, _, err = run("transcribe", tmp_path / "gone.wav", "-m", models / "lstm")
    assert code == 2 and "does not exist" in err
    code, _, err = run("transcribe", tmp_path, "-m", models / "lstm")
    assert code == 2 and "no audio in" in err
    code, _, err = run("classify", CLIPS[0], "-m", models / "lstm")
    assert code == 1 and "is a model of task 'asr': load it by SpeechRecognizer" in err


def test_an_unknown_step_of_training_is_told_which_there_are(run, tmp_path):
    code, _, err = run("train", "everything", tmp_path / "config.yaml")
    known = "known are encoder, kmeans, tokens, vocoder, language, asr, classifier"
    assert code == 2 and f"no step 'everything', {known}" in " ".join(err.split())
    with pytest.raises(ConfigError, match="no step 'everything' of training, known are encoder, kmeans"):
        train("everything", "config.yaml")
