"""`experiments/edition.py`: models are trained one after the other, once, and put into the package with a card."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from helpers import ROOT
from task_data import TEXTS, make_room
from task_models import make_model

from semtok import Tokenizer
from semtok.downstream import DownstreamModel, bundled_models
from semtok.downstream.bundled_models import BUNDLED_BY_NAME
from semtok.training.downstream.witten_bell import estimate, spell


@pytest.fixture
def edition(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import edition

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["edition.py", *map(str, arguments)])
        edition.main()

    monkeypatch.chdir(ROOT)
    return call


def test_a_model_is_trained_once(edition, tmp_path, monkeypatch, capfd):
    room = make_room(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    changes = {
        "data.sources": f"[{room / 'clips.csv'}]",
        "data.validation_clips": 2,
        "batches.batch_seconds": 1.5,
        "schedule.steps": 2,
        "schedule.save_every": 2,
    }
    train = ["--runs", room / "runs", "train", "--tokenizer", room / "tokenizer", "--only", "tiny-keywords"]
    train += [f"--set={name}={value}" for name, value in changes.items()]
    edition(*train)
    printed = capfd.readouterr().out
    assert "semtok train classifier configs/tiny/keywords.yaml" in printed
    assert "tiny-keywords: " in printed and "  error: " in printed and "  clips: 2" in printed
    edition(*train)
    again = capfd.readouterr().out
    assert "semtok train" not in again and "  clips: 2" in again
    with pytest.raises(SystemExit, match="train it anew"):
        edition("--runs", room / "runs", "bundle", "tiny-keywords")


def test_a_model_of_tiny_is_put_into_the_package_with_its_card(edition, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bundled_models, "BUNDLED_MODELS", tmp_path / "bundled")
    runs = tmp_path / "runs"
    tiny = Tokenizer.from_pretrained("tiny")
    make_model("ecapa", tiny, source=str(tmp_path)).save_pretrained(runs / "keywords" / "best")
    (runs / "keywords" / "test.json").write_text(json.dumps({"clips": 51, "error": 0.23456, "layers": [1]}))
    for _ in range(2):  # another one takes its place
        edition("--runs", runs, "bundle", "tiny-keywords")
    folder = tmp_path / "bundled" / "tiny-keywords"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert DownstreamModel.from_pretrained(folder).checkpoint == "tiny"
    assert BUNDLED_BY_NAME["tiny-keywords"].is_there
    card = (folder / "README.md").read_text()
    assert "| error | 0.235 |" in card and f"`{tiny.fingerprint}`" in card and "layers |" not in card.split("##")[2]
    assert yaml.safe_load(card.split("---")[1])["license"] == "cc-by-4.0"


def test_there_is_a_card_for_every_name():
    cards = yaml.safe_load((ROOT / "experiments" / "edition_cards.yaml").read_text())
    assert cards.keys() == BUNDLED_BY_NAME.keys()
    assert len({frozenset(card) for card in cards.values()}) == 1


def test_weight_and_bonus_are_chosen_on_validation_clips_and_saved(edition, tmp_path, monkeypatch, capsys):
    import decoding

    room = make_room(tmp_path)
    tokenizer = Tokenizer.from_pretrained(room / "tokenizer")
    model = make_model("conformer", tokenizer, source=str(room / "tokenizer"))
    model.language_model = estimate(map(spell, TEXTS), 2)
    model.save_pretrained(tmp_path / "asr")
    arguments = ["--model", tmp_path / "asr", "--clips", room / "clips.csv", "--limit", 2, "--beam", 2, "--save"]
    monkeypatch.setattr(sys, "argv", ["decoding.py", *map(str, arguments)])
    monkeypatch.setattr(decoding, "BONUSES", (0.0, 3.0))
    decoding.main()
    printed = capsys.readouterr().out
    assert "2 clips to choose by, 2 to measure" in printed and len(printed.splitlines()) == 7
    saved = DownstreamModel.from_pretrained(tmp_path / "asr").head_config.decoding
    assert f"weight {saved.weight}, bonus {saved.bonus}" in printed and saved.beam == 2
