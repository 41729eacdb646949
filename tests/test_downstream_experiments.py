"""The experiments on tasks: runs are kept, report and figures written; quality of enhanced and synthetic speech."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from helpers import CLIPS, write_csv
from task_data import make_room, run_task
from task_models import make_model

from semtok.downstream.config import FrontConfig
from semtok.downstream.recognizer import LSTMConfig, RecognizerConfig
from semtok.training.downstream.config import Batches, FrontTraining, TaskData, TaskSchedule
from semtok.training.downstream.recognizer import RecognizerObjective, RecognizerTrainingConfig


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    room = make_room(tmp_path_factory.mktemp("downstream"))
    with (room / "clips.csv").open() as file:
        rows = [row | {"drink": row["speaker"]} for row in csv.DictReader(file)][:13]
    (room / "output" / "manifests").mkdir(parents=True)
    write_csv(room / "output" / "manifests" / "intent.csv", [r | {"path": str(room / r["path"])} for r in rows])
    return room


def test_comparisons_are_kept_and_reported(room, run_script):
    compare = ("--output", room / "output", "compare", "--task", "intent", "--checkpoint", room / "tokenizer")
    run_script("experiments/downstream.py", *compare, "--seeds", 0, "--steps", 2)
    runs = room / "output" / "intent"
    tested = {path.parent.name: path.stat().st_mtime_ns for path in runs.glob("*/test.json")}
    assert len(tested) == 5 + 3 + 3
    assert json.loads((runs / "only-2-seed-0" / "test.json").read_text())["layers"] == [2]
    assert len(list((runs / "tokens").glob("*/values"))) == 2  # tokens of all layers, and features
    run_script("experiments/downstream.py", *compare, "--seeds", 0, "--steps", 2)
    assert {path.parent.name: path.stat().st_mtime_ns for path in runs.glob("*/test.json")} == tested

    printed = run_script("experiments/downstream.py", "--output", room / "output", "report")
    assert "| layers | test, runs | runs | validation clips | test clips |" in printed and "| only-3 |" in printed
    assert "Spearman's rank correlation over layers: weight and score alone" in printed
    assert (room / "output" / "layers.png").stat().st_size > 10_000


def test_fusions_are_compared_by_one_command(room, run_script, tmp_path):
    (tmp_path / "manifests").symlink_to(room / "output" / "manifests")
    command = ("experiments/fusion.py", "--checkpoint", room / "tokenizer", "--output", tmp_path, "--tasks", "intent")
    printed = run_script(*command, "--seeds", 0, 1, "--steps", 1)
    valid, test = printed.split("Errors of ")[1:]
    assert valid.startswith("validation clips") and test.startswith("test clips")
    for table in (valid, test):
        rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
        assert rows == ["fusion", "attention", "attention-floor", "gates", "concatenate", "concatenate-rank"]
    assert "Runs of each fusion: intent 2/2/2/2/2." in printed
    assert "Errors of test clips" in (tmp_path / "fusion.md").read_text()


@pytest.mark.parametrize(
    "before, after, verdict",
    [
        ([1] * 9 + [0] * 11, [0] * 20, " better"),
        ([0] * 20, [1] * 9 + [0] * 11, " worse"),
        ([1, 0] * 10, [0, 1] * 10, ""),
    ],
)
def test_better_is_what_a_test_calls_so(before, after, verdict, monkeypatch):
    monkeypatch.syspath_prepend("experiments")
    from clip_errors import cell

    one, other = ({run: {str(n): (e, 1.0) for n, e in enumerate(errors)} for run in "0"} for errors in (before, after))
    assert cell(one, other).endswith(")" + verdict)
    assert cell(dict.fromkeys("01", one["0"]), dict.fromkeys("01", other["0"])).endswith(")" + verdict)


def test_weights_are_drawn_above_the_words(room, run_script, tmp_path):
    config = RecognizerTrainingConfig(
        folder=str(tmp_path / "asr"),
        tokenizer=str(room / "tokenizer"),
        data=TaskData(sources=[str(room / "clips.csv")], validation_clips=2, repeated_texts=True),
        recognizer=RecognizerConfig(lstm=LSTMConfig(8, 1)),
        network=FrontTraining(front=FrontConfig(dim=8, fusion="attention", attention_dim=4)),
        batches=Batches(batch_seconds=2),
        schedule=TaskSchedule(steps=1, learning_rate=0.01, warmup_steps=1, save_every=1),
    )
    run_task(RecognizerObjective, config)
    best = tmp_path / "asr" / "best"
    run_script(
        *("experiments/downstream.py", "--output", tmp_path, "figure", room / "5.wav"),
        *("--text", "THREE SIX", "--recognizer", best, "--models", best),
    )
    assert (tmp_path / "weights.png").stat().st_size > 10_000


def test_quality_of_enhanced_and_synthetic_speech(tokenizer, istft_folder, tmp_path, run_script):
    make_model("enhancer", tokenizer, str(istft_folder)).save_pretrained(tmp_path / "enhancer")
    make_model("synthesizer", tokenizer, str(istft_folder)).save_pretrained(tmp_path / "synthesizer")
    write_csv(tmp_path / "pairs.csv", [{"noisy": str(CLIPS[0]), "clean": str(CLIPS[0])}])
    write_csv(tmp_path / "texts.csv", [{"text": "Hello, world"}, {"text": "42"}, {"text": ""}])
    printed = run_script(
        *("experiments/downstream_quality.py", "enhance", "--model", tmp_path / "enhancer"),
        *("--pairs", tmp_path / "pairs.csv", "--output", tmp_path / "wavs"),
    )
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ")]
    assert rows[1:] == ["noisy", "noisy tokens decoded", "enhanced", "clean tokens decoded", "clean"]
    assert len(list((tmp_path / "wavs").iterdir())) == 1
    printed = run_script(
        *("experiments/downstream_quality.py", "tts", "--model", tmp_path / "synthesizer"),
        *("--texts", tmp_path / "texts.csv"),
    )
    assert "2 texts" in printed and "2 of them could not be said" in printed and "| anna |" in printed
