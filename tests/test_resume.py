"""Every step of training, stopped and resumed, ends where an unbroken run does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT, copy_clips
from safetensors.torch import load_file
from task_data import make_room, task_config

from semtok import Tokenizer
from semtok.downstream import TASKS
from semtok.training.run import Run
from semtok.training.steps import STEPS, train

LINES = {"kmeans": 1}
"""Of the log, until a run is stopped; by default that of the third step, after a state that was saved in the second."""


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """Clips, and a config for each step."""
    room = make_room(tmp_path_factory.mktemp("steps"))
    copy_clips(room / "speech")
    (room / "tokens").mkdir()
    return room


def run_step(room: Path, step: str, name: str | None = None) -> Path:
    """Trains in a folder of that name."""
    folder, runs = room / "runs" / (name or step), room / "runs"
    if step in TASKS:
        config = room / f"{step}.yaml"
        config.write_text(json.dumps(dataclasses.asdict(task_config(room, step))))  # JSON is YAML
        changes = []
    else:
        config = ROOT / "configs" / "smoke" / f"{step}.yaml"
        changes = {
            "encoder": ["save_every=2"],
            "kmeans": [f"encoder={runs}/encoder/encoder"],
            "tokens": [f"encoder={runs}/encoder/encoder", "save_every=2"],
            "vocoder": [f"tokenizer={runs}/kmeans/tokenizer"],
            "language": [f"checkpoint={runs}/vocoder/checkpoint"],
        }[step]
        changes += [f"data=[{room}/{'tokens' if step == 'language' else 'speech'}]"]
    train(step, str(config), [*changes, f"folder={folder}"])
    return folder


@pytest.fixture(scope="module")
def unbroken(room) -> Path:
    """All steps, one after the other."""
    for step in STEPS:
        if step == "language":
            tokenizer = Tokenizer.from_pretrained(room / "runs" / "vocoder" / "checkpoint")
            for path in (room / "speech").iterdir():
                tokenizer.encode(path).save(room / "tokens" / f"{path.stem}.safetensors")
        run_step(room, step)
    return room / "runs"


@pytest.mark.parametrize("step", STEPS)
def test_a_run_stopped_and_resumed_equals_an_unbroken_one(room, unbroken, step, monkeypatch):
    log, lines = Run.log, 0

    def stopping(run, *arguments, **numbers):
        nonlocal lines
        log(run, *arguments, **numbers)
        lines += 1
        if lines == LINES.get(step, 4):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_step(room, step, f"{step}-resumed")
    assert not (unbroken / f"{step}-resumed" / "test.json").exists()
    resumed = run_step(room, step, f"{step}-resumed")
    assert results(resumed)
    torch.testing.assert_close(results(resumed), results(unbroken / step), rtol=0, atol=0)
    assert numbers_of(resumed) == numbers_of(unbroken / step)


def results(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of all that a run made, but for the states in between."""
    return {
        str(path.relative_to(folder)): load_file(path)
        for path in folder.rglob("*.safetensors")
        if "states" not in path.parts
    }


def numbers_of(folder: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The lines of the log without what the clock says, and the test's result."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    lines = [{name: line[name] for name in line.keys() - {"time", "steps_per_second"}} for line in lines]
    tested = [json.loads(path.read_text()) for path in folder.glob("test.json")]
    return {(line.get("step"), line.get("stage"), *sorted(line)): line for line in lines + tested}
