"""The progress bar of a training step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Show(Protocol):
    """Shows named numbers beside the bar."""

    def __call__(self, **numbers: float) -> None: ...


def steps_with_progress(first: int, last: int, description: str, *, visible: bool = True) -> Iterator[tuple[int, Show]]:
    """Steps first + 1 .. last, each with a function that shows named numbers beside the rate and the time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "")

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn()),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not visible, speed_estimate_period=120) as progress:
        task = progress.add_task(description, total=last, completed=first, numbers="")

        def show(**numbers: float) -> None:
            progress.update(task, numbers=" ".join(f"{name} {value:.3g}" for name, value in numbers.items()))

        for step in range(first + 1, last + 1):
            yield step, show
            progress.update(task, completed=step)
