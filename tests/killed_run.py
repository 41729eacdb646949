"""Saves states without end and is killed at random moments: every state that it then finds must be whole.

`python killed_run.py FOLDER KILLS` prints the step after which it was killed last.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semtok.training.run import Run


def prepare(folder: Path) -> tuple[Run, nn.Module, nn.Module, Any]:
    run = Run(folder)
    model, average = nn.Linear(50, 50), nn.Linear(50, 50)
    model, optimizer = run.accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    run.accelerator.register_for_checkpointing(average)
    return run, model, average, optimizer


def run_for_ever(folder: Path, started: int) -> None:
    run, model, average, optimizer = prepare(folder)
    first = run.resume()
    values = [*model.parameters(), *average.parameters()]
    if first:
        assert all(bool((value == first).all()) for value in values), f"not the weights of step {first}"
        assert optimizer.param_groups[0]["lr"] == first
    os.write(started, b"!")
    for step in itertools.count(first + 1):
        for value in values:
            nn.init.constant_(value, step)
        optimizer.param_groups[0]["lr"] = float(step)
        run.save(step, random.random(), keep=2)


def main(folder: Path, kills: int) -> None:
    random.seed(0)
    prepare(folder)  # imports what it needs, once for all
    started, begin = os.pipe()
    steps = [0]
    for _ in range(kills):
        if (child := os.fork()) == 0:
            run_for_ever(folder, begin)
        os.read(started, 1)
        time.sleep(0.1 * random.random())
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the run failed before it was killed"
        states = sorted((folder / "states").glob("step-*"))
        assert len(states) <= 4  # two, the best, and one that was about to go
        steps += [int(state.name.removeprefix("step-")) for state in states[-1:]]
    assert steps == sorted(steps)
    print(steps[-1])  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
