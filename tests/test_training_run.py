"""The runner: the commands of docs/training.md, states that survive anything, and several processes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from helpers import CLIPS, ROOT, TESTS, copy_clips, run_python
from safetensors.torch import load_file
from torch import nn

from semtok import Tokenizer, Vocoder
from semtok.training.__main__ import main, train
from semtok.training.run import Run


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
