"""What every training step shares: a folder with the state to resume from, never half written, and a log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from semtok.files import written_aside


class Run:
    """A training run in a folder: `state.pt` to resume from, `log.jsonl` with one line of numbers a report."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, name: str = "state", device: str | torch.device = "cpu") -> dict[str, Any] | None:
        """What `save` kept under that name, or None."""
        path = self.folder / f"{name}.pt"
        return torch.load(path, map_location=device, weights_only=True) if path.exists() else None

    def save(self, state: dict[str, Any], name: str = "state") -> None:
        """Keeps a dictionary of tensors and numbers; the earlier one is replaced only once this one is complete."""
        with written_aside(self.folder / f"{name}.pt") as aside:
            torch.save(state, aside)

    def log(self, step: int, **numbers: float) -> None:
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps({"step": step, "time": round(time.time(), 1), **numbers}) + "\n")


def steps_with_progress(first: int, last: int, description: str) -> Iterator[tuple[int, Any]]:
    """Steps first + 1 .. last, each with a function that shows named numbers beside the progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(description, total=last, completed=first, numbers="")

        def show(**numbers: float) -> None:
            progress.update(task, numbers=" ".join(f"{name} {value:.3g}" for name, value in numbers.items()))

        for step in range(first + 1, last + 1):
            yield step, show
            progress.update(task, completed=step)


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
