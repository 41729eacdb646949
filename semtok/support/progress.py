"""The progress bar on stderr of everything that takes long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

T = TypeVar("T")


class Show(Protocol):
    """Shows named numbers beside the bar."""

    def __call__(self, **numbers: float) -> None: ...


class ProgressBar:
    """A bar with the rate and the time left, or nothing; what is printed by it comes out above it."""

    def __init__(
        self, console: Console | None = None, progress: Progress | None = None, task: TaskID | None = None
    ) -> None:
        self._console, self._progress, self._task = console, progress, task

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, count)

    def show(self, **numbers: float) -> None:
        """Shows named numbers beside the bar."""
        if self._progress is not None and self._task is not None:
            text = " ".join(f"{name} {value:.3g}" for name, value in numbers.items())
            self._progress.update(self._task, numbers=text)

    def print(self, text: str, *, style: str | None = None) -> None:
        """A line of text, as it is."""
        if self._console is not None:
            self._console.print(text, style=style, markup=False)


@contextmanager
def progress_bar(
    description: str, total: int | None, *, done: int = 0, visible: bool | None = True
) -> Iterator[ProgressBar]:
    """A bar while the block runs.

    Args:
        description: in front of the bar.
        total: how many there are, None if that is not known.
        done: how many of them are done already.
        visible: whether it is drawn; None draws it in a terminal only, and prints elsewhere too. Of nothing no bar is
            drawn.
    """
    if visible is False:
        yield ProgressBar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "")

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if total == 0 or (visible is None and not console.is_terminal):
        yield ProgressBar(console)
        return
    text, numbers = TextColumn("{task.description}"), TextColumn("{task.fields[numbers]}")
    times = TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(
        *(text, BarColumn(), MofNCompleteColumn(), RateColumn(), *times, numbers),
        console=console,
        speed_estimate_period=120,
    ) as progress:
        yield ProgressBar(console, progress, progress.add_task(description, total=total, completed=done, numbers=""))


def track(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    """The items, with a bar."""
    with progress_bar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()


def steps_with_progress(first: int, last: int, description: str, *, visible: bool = True) -> Iterator[tuple[int, Show]]:
    """Steps first + 1 .. last, each with a function that shows named numbers beside the bar."""
    with progress_bar(description, last, done=first, visible=visible) as bar:
        for step in range(first + 1, last + 1):
            yield step, bar.show
            bar.advance()


def counted(number: int, thing: str) -> str:
    """Such as "1 clip" and "2 clips"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
