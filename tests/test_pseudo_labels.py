"""`experiments/pseudo_labels.py`: clips without a text get that of a recognizer, once, and tasks learn from it."""

from __future__ import annotations

import csv
import sys

import pytest
import torch
from helpers import ROOT, write_csv
from task_data import changed, make_room, run_task, task_config

from semtok import load_audio, save_audio
from semtok.downstream import SpeechRecognizer
from semtok.training.downstream import objective_of


class Recognizer:
    """Hears a number in a clip, by its length, and loops in the longest."""

    name, language = "fake/recognizer@1", "en"

    def __init__(self):
        self.heard = 0

    def transcribe(self, waveforms):
        self.heard += len(waveforms)
        return ["na " * 90 if len(waveform) > 30000 else f" Clip {len(waveform) // 800}." for waveform in waveforms]


@pytest.fixture
def recognizer(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import pseudo_labels

    fake = Recognizer()
    monkeypatch.setattr(pseudo_labels, "load_recognizer", lambda *_, **options: fake)
    return fake


@pytest.fixture
def label(recognizer, monkeypatch, tmp_path):
    def call(manifest):
        import pseudo_labels

        output = tmp_path / "labels" / "clips.csv"
        monkeypatch.setattr(sys, "argv", ["pseudo_labels.py", str(manifest), "--output", str(output)])
        pseudo_labels.main()
        with output.open(newline="") as file:
            return list(csv.DictReader(file))

    return call


def test_clips_without_a_text_get_one_and_tasks_learn_from_it(label, recognizer, tmp_path):
    room = make_room(tmp_path / "room")
    with (room / "clips.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["path"] != "gone.wav"]
    save_audio(room / "long.wav", 0.1 * torch.randn(40000))
    rows.append(rows[0] | {"path": "long.wav"})
    write_csv(room / "silent.csv", [row | {"text": "" if row["path"] != "1.wav" else "ONE"} for row in rows])
    labels = {row["path"].rpartition("/")[2]: row for row in label(room / "silent.csv")}
    assert set(labels) == {"0.wav", *(f"{number}.wav" for number in range(2, 7)), "broken.wav", "long.wav"}
    assert labels["0.wav"]["text"] == "Clip ten." and labels["0.wav"]["text_source"] == recognizer.name
    assert (labels["0.wav"]["speaker"], labels["0.wav"]["split"]) == ("s0", "train")
    assert labels["broken.wav"]["text"] == labels["long.wav"]["text"] == ""
    heard = recognizer.heard
    assert len(label(room / "silent.csv")) == len(labels) and recognizer.heard == heard
    assert load_audio(labels["0.wav"]["path"]).equal(load_audio(room / "0.wav"))
    sources = [str(room / "clips.csv"), str(tmp_path / "labels" / "clips.csv")]
    config = changed(task_config(room, "asr"), folder=str(tmp_path / "run"), data={"sources": sources})
    run_task(objective_of("asr"), config)
    assert set("CLIPTEN") <= set(SpeechRecognizer.from_pretrained(tmp_path / "run" / "best").codec.characters)
