"""The runner: the commands of docs/training.md, states that survive anything, and several processes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import CLIPS, ROOT, TESTS, copy_clips, refuses, run_python
from safetensors.torch import load_file
from torch import nn

from semtok import Tokenizer, Vocoder
from semtok.errors import TrainingError
from semtok.training.__main__ import main
from semtok.training.config import Schedule
from semtok.training.run import Run
from semtok.training.run import train as run_trainer
from semtok.training.steps import train


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A folder to run the smoke configs in, with what they expect of the repository."""
    folder = tmp_path_factory.mktemp("smoke")
    shutil.copytree(ROOT / "configs", folder / "configs")
    copy_clips(folder / "tests" / "data")
    return folder


@pytest.fixture(scope="module")
def steps(smoke):
    """All steps, run as docs/training.md says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(smoke)
        for step in ("encoder", "kmeans", "vocoder"):
            main([step, f"configs/smoke/{step}.yaml"])
    return smoke / "runs" / "smoke"


def test_every_step_runs_from_its_smoke_config(steps):
    folder = steps / "vocoder" / "checkpoint"
    tokens = Tokenizer.from_pretrained(folder).encode(CLIPS[0])
    assert Vocoder.from_pretrained(folder).decode(tokens).shape == (1, tokens.codes.shape[2] * 320)
    assert Vocoder.from_pretrained(steps / "vocoder" / "best").fingerprint == tokens.fingerprint


def test_a_trained_vocoder_goes_on_against_discriminators_from_its_smoke_config(steps, smoke, monkeypatch, run):
    monkeypatch.chdir(smoke)
    code, out, _ = run("train", "vocoder", "configs/smoke/vocoder_natural.yaml")
    made, then = out.splitlines()[-2:]
    assert code == 0 and made.startswith("runs/smoke/vocoder_natural/best: on validation clips mel_all ")
    command = then.removeprefix("go on with: semtok ").replace("FILE", str(CLIPS[0])).split()
    assert run(*command)[0] == 0 and Path("again.wav").exists()
    lines = [json.loads(line) for line in (steps / "vocoder_natural" / "log.jsonl").read_text().splitlines()]
    assert {"apart_window_512", "apart_layer_1"} <= {name for line in lines for name in line}


def test_learnt_rows_run_from_their_smoke_config(steps, smoke, monkeypatch, run):
    monkeypatch.chdir(smoke)
    assert run("train", "tokens", "configs/smoke/tokens.yaml")[0] == 0
    tokenizer = Tokenizer.from_pretrained(steps / "rows" / "best")
    assert tokenizer.layers == ("content", "sound") and set(tokenizer.layer_weights["sound"]) == {1, 2}


def test_a_language_model_runs_from_its_smoke_config(steps, smoke, monkeypatch, run):
    """As the head of the config says, then a continuation."""
    monkeypatch.chdir(smoke)
    checkpoint = "runs/smoke/vocoder/checkpoint"
    assert run("encode-corpus", "tests/data", "runs/smoke/tokens", "--checkpoint", checkpoint)[0] == 0
    assert run("train", "language", "configs/smoke/language.yaml")[0] == 0
    model = "runs/smoke/language/best"
    code, _, err = run("continue", CLIPS[0], "--model", model, "--seconds", 1, "-o", "continued.wav")
    assert code == 0 and "1.0 s more" in err


def test_a_run_is_logged_for_people_and_for_tensorboard(steps):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = [json.loads(line) for line in (steps / "vocoder" / "log.jsonl").read_text().splitlines()]
    assert {"mel", "discriminator", "adversarial", "matching", "steps_per_second"} <= lines[-2].keys()
    assert {"valid_mel_all", "valid_mel_1", "valid_mel_2"} <= lines[-1].keys()
    board = EventAccumulator(str(steps / "vocoder" / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("valid_mel_all")] == [2, 4]
    assert board.Scalars("mel")[-1].value == pytest.approx(lines[-2]["mel"])
    for kind in ("audio", "images"):
        assert {"clip_0/vocoder", "clip_0/original"} <= set(board.Tags()[kind])


def test_a_finished_run_is_left_alone(steps, smoke, monkeypatch):
    monkeypatch.chdir(smoke)
    before = {path: path.stat().st_mtime_ns for path in (steps / "vocoder" / "checkpoint").rglob("*.safetensors")}
    train("vocoder", "configs/smoke/vocoder.yaml")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def tiny_run(folder):
    run = Run(folder)
    run.model = run.accelerator.prepare(nn.Linear(2, 1))
    return run


def test_the_last_states_and_the_best_are_kept(tmp_path):
    run = tiny_run(tmp_path)
    for step, loss in enumerate([3.0, 1.0, 2.0, 4.0, 5.0], start=1):
        with torch.no_grad():
            run.model.weight.fill_(step)
        run.log(step, loss=loss)
        run.save(step, loss, keep=2)
    assert sorted(path.name[-1] for path in (tmp_path / "states").iterdir()) == ["2", "4", "5"]

    shutil.rmtree(tmp_path / "states" / "step-000000005")
    shutil.copytree(tmp_path / "states" / "step-000000002", tmp_path / "states" / ".step-000000006")  # half written
    again = tiny_run(tmp_path)
    assert again.resume() == 4
    assert again.model.weight[0, 0] == 4
    assert not again.is_best(1.5) and again.is_best(0.5)
    assert sorted(path.name[-1] for path in (tmp_path / "states").iterdir()) == ["2", "4"]
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


class LinearTrainer:
    """Trains a linear map of `size` inputs; what it exports is a text file of the step."""

    def __init__(self, run, size=2, diverges_at=None):
        self.run, self.diverges_at, self.last = run, diverges_at, 0
        model = nn.Linear(size, 1)
        self.model, self.optimizer = run.accelerator.prepare(model, torch.optim.AdamW(model.parameters()))

    def step(self, step):
        self.last = step
        return {"loss": torch.tensor(float("nan") if step == self.diverges_at else 1.0 / step)}

    def validate(self, step):
        return {"valid_loss": 1.0 / step}

    def export(self, folder):
        folder.mkdir(exist_ok=True)
        (folder / "step.txt").write_text(str(self.last))


def train_linear(folder, *, steps, size=2, diverges_at=None):
    """A run of `LinearTrainer` that is logged every third step and saved every second."""
    schedule = Schedule(steps=steps, learning_rate=0.1, warmup_steps=1, save_every=2, log_every=3)
    settings = {"folder": str(folder), "model": {"hidden_size": size}, "schedule": dataclasses.asdict(schedule)}
    run = Run(folder)
    trainer = LinearTrainer(run, size, diverges_at)
    run_trainer(run, trainer, schedule, seed=0, settings=settings, step_name="linear", product="product")


@pytest.mark.parametrize("step, steps", [(3, 4), (4, 6), (5, 5)])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, step, steps):
    with refuses(TrainingError, f"nan at step {step}", "diverged", "learning_rate"):
        train_linear(tmp_path, steps=steps, diverges_at=step)
    assert (tmp_path / "best" / "step.txt").read_text() == str((step - 1) // 2 * 2)
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()
    train_linear(tmp_path, steps=steps)
    assert (tmp_path / "best" / "step.txt").read_text() == str(steps)


def test_a_folder_of_another_run_says_what_differs(tmp_path):
    train_linear(tmp_path, steps=2)
    with refuses(TrainingError, "model.hidden_size is 2 there and 3 now", "another `folder`", str(tmp_path / "states")):
        train_linear(tmp_path, steps=4, size=3)
    train_linear(tmp_path, steps=4)
    assert Run(tmp_path / "new").resume() == 0


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "best.json"])
def test_a_damaged_state_is_named(tmp_path, name):
    train_linear(tmp_path, steps=2)
    state = tmp_path / "states" / "step-000000002"
    whole = (state / name).read_bytes()
    (state / name).write_bytes(whole[: len(whole) // 2])
    with refuses(TrainingError, "cannot go on from", str(state), "start anew"):
        train_linear(tmp_path, steps=4)


def test_a_run_goes_on_without_tensorboard(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # which makes its import fail
    train_linear(tmp_path, steps=4)
    assert "TensorBoard cannot be imported" in caplog.text
    assert not (tmp_path / "tensorboard").exists()
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [2, 3, 4]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_full_disk_is_told_as_such(tmp_path):
    """torch and safetensors do not say so themselves."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        train_linear(disk / "run", steps=2)
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - (8 << 10)))
        with refuses(TrainingError, str(disk), "is full"):
            train_linear(disk / "run", steps=8)
        (disk / "ballast").unlink()
        train_linear(disk / "run", steps=8)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_run_killed_while_it_saves_resumes_from_a_whole_state(tmp_path):
    assert int(run_python(TESTS / "killed_run.py", tmp_path, 12)) > 12


def test_two_processes_learn_what_one_learns_from_the_batches_of_both(steps, tmp_path):
    """Their weights stay the same, also when they resume, and are those of one that adds up two batches a step."""
    (tmp_path / "audio").symlink_to(steps / "audio")
    changes = [f"tokenizer={steps}/kmeans/tokenizer", f"data=[{steps.parent.parent}/tests/data]", "adversarial_step=1"]
    changes += ["average_decay=0", "steps=2"]
    config = ROOT / "configs" / "smoke" / "vocoder.yaml"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", TESTS / "two_processes.py")
    for last in (1, 2):
        arguments = [config, *changes, f"folder={tmp_path}/two", f"steps={last}"]
        run_python(*launcher, *arguments, ACCELERATE_USE_CPU="true")
        first, second = (torch.load(tmp_path / "two" / f"process-{process}-of-2.pt") for process in range(2))
        for own, other in zip(first, second, strict=True):
            assert all(torch.equal(own[name], other[name]) for name in own)
    train("vocoder", str(config), [*changes, f"folder={tmp_path}/one", "gradient_accumulation=2"])
    train("vocoder", str(config), [*changes, f"folder={tmp_path}/half"])
    files = (tmp_path / name / "checkpoint" / "vocoder.safetensors" for name in ("one", "two", "half"))
    one, two, half = map(load_file, files)
    difference = torch.cat([(one[name] - two[name]).abs().flatten() for name in one])
    apart = torch.cat([(one[name] - half[name]).abs().flatten() for name in one])
    assert difference.mean() < 0.02 * apart.mean()
