"""The models on tokens that come with semtok, and what is said where one does not."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from helpers import ROOT
from task_models import make_model

from semtok import Tokenizer, load_audio
from semtok.checkpoints import hub
from semtok.checkpoints.hub import BUNDLED_MODELS, bundled_names
from semtok.cli import language, tasks
from semtok.downstream import TASKS, DownstreamModel, TextToSpeech, bundled_models
from semtok.downstream.bundled_models import BUNDLED_BY_NAME, default_model
from semtok.errors import CheckpointError
from semtok.language.model import SpeechLanguageModel
from semtok.training.steps import STEPS

SPEECH = ROOT / "examples" / "data" / "speech.flac"
COMMANDS = {task.name: task.method for task in TASKS.values()} | {"language": "continue"}
ARGUMENTS = {
    "transcribe": [SPEECH],
    "classify": [SPEECH],
    "verify": [SPEECH, SPEECH],
    "enhance": [SPEECH, "-o", "out.wav"],
    "speak": ["Hello world.", "-o", "out.wav"],
    "continue": [SPEECH, "-o", "out.wav", "--seconds", "0.5"],
}
THERE = [model for model in BUNDLED_BY_NAME.values() if model.is_there]


@pytest.fixture
def without(tmp_path, monkeypatch):
    """None of the models comes with semtok, and the working folder is empty."""
    for module in (bundled_models, hub):
        monkeypatch.setattr(module, "BUNDLED_MODELS", tmp_path / "bundled")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def test_names_and_folders_are_the_same_and_each_model_takes_the_tokens_of_tiny():
    assert bundled_names(BUNDLED_MODELS) == sorted(model.name for model in THERE)


def test_every_name_says_which_step_and_config_train_it():
    for model in BUNDLED_BY_NAME.values():
        assert model.step in STEPS
        config = yaml.safe_load((ROOT / "configs" / "tiny" / f"{model.config}.yaml").read_text())
        assert config["folder"] == f"runs/tiny/{model.config}"


@pytest.mark.parametrize("model", THERE, ids=lambda model: model.name)
def test_a_bundled_model_is_small_documented_and_of_tiny(model):
    assert sum(path.stat().st_size for path in model.folder.iterdir()) <= 5e6
    card = (model.folder / "README.md").read_text("utf-8")
    kind = SpeechLanguageModel if model.step == "language" else DownstreamModel
    loaded = kind.from_pretrained(model.name)
    assert f"`{loaded.fingerprint}`" in card and "license:" in card
    for section in ("## Training", "## How good it is", "## Limits", "## Data and licences"):
        assert section in card
    assert loaded.fingerprint == Tokenizer.from_pretrained("tiny").fingerprint


def test_the_package_is_small_enough_to_install():
    files = [path for path in (ROOT / "semtok").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 60e6


@pytest.mark.parametrize("step", COMMANDS)
def test_a_command_runs_the_bundled_model_offline(run, monkeypatch, tmp_path, step):
    if not any(model.step == step for model in THERE):
        pytest.skip("no such model comes with semtok")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    command = COMMANDS[step]
    code, out, _ = run(command, *ARGUMENTS[command])
    assert code == 0
    if "out.wav" in ARGUMENTS[command]:
        assert load_audio("out.wav").abs().max() > 0.01
    else:
        assert isinstance(json.loads(out), dict)


@pytest.mark.parametrize("step", COMMANDS)
def test_a_command_whose_model_does_not_come_with_semtok_says_what_to_do(run, without, step, monkeypatch):
    for module in (tasks, language):  # what would load torch
        monkeypatch.delattr(module, "check_device")
        monkeypatch.delattr(module, "plan_from_audio")
    command = COMMANDS[step]
    code, _, err = run(command, *ARGUMENTS[command])
    assert code == 1
    config = bundled_models.bundled_of(step)[0].config
    assert "does not come with this version" in err and "--model" in err
    assert f"semtok train {step} configs/tiny/{config}.yaml" in err and f"runs/tiny/{config}/best" in err


def test_a_model_of_another_edition_is_no_default(without, tmp_path):
    config = json.loads((BUNDLED_MODELS / "tiny-tts" / "config.json").read_text())
    folder = tmp_path / "bundled" / "tiny-tts"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    assert default_model("tts") == "tiny-tts"
    (folder / "config.json").write_text(json.dumps(config | {"fingerprint": "0123456789abcdef"}))
    with pytest.raises(CheckpointError, match="tiny-tts does not come"):
        default_model("tts")


def test_a_name_that_is_known_and_not_there_is_told_how_to_be_trained(without, tokenizer):
    with pytest.raises(CheckpointError, match=r"train classifier configs/tiny/keywords\.yaml"):
        DownstreamModel.from_pretrained("tiny-keywords")
    make_model("ecapa", tokenizer).save_pretrained("tiny-keywords")
    assert DownstreamModel.from_pretrained("tiny-keywords").task == "classifier"


def test_the_bundled_speaker_speaks_in_different_voices():
    model = TextToSpeech.from_pretrained("tiny-tts")
    first, other = (model.speak("The children are playing in the garden.", speaker=name) for name in ("ls27", "ls26"))
    assert 1.5 < first.shape[1] / model.sample_rate < 5
    assert first.shape != other.shape or not torch.allclose(first, other)


def test_a_model_that_does_not_come_with_semtok_is_told_with_those_that_do():
    with pytest.raises(CheckpointError, match=r"'tiny_nothing' is no checkpoint: expected a bundled name \(.*tiny-tts"):
        DownstreamModel.from_pretrained("tiny_nothing")
