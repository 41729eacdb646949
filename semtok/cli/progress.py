"""What a command over many files shows: a bar and the failures on stderr, one line of summary on stdout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from semtok.cli.files import STANDARD, Plan
from semtok.errors import SemtokError


class FileProgress:
    """Counts files while its block runs; at the end prints the summary, and exits with code 1 if files failed.

    The bar appears in a terminal only.

    Args:
        doing, done: the verb, for the bar and for the summary.
        plan: the files; what it leaves out is told on stderr.
        output: where they go; the summary goes to stderr if that is standard output.
    """

    def __init__(self, doing: str, done: str, plan: Plan, output: Path) -> None:
        self.verb = done
        self._left_out = plan.left_out
        self._summary_on_stderr = output == STANDARD
        self.done = self.failed = self.skipped = 0
        self.seconds = 0.0
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        text, count = TextColumn("{task.description}"), MofNCompleteColumn()
        self._bar = Progress(
            *(text, BarColumn(), count, TimeElapsedColumn(), TimeRemainingColumn()),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(doing, total=len(plan.jobs))

    def __enter__(self) -> FileProgress:
        self._start = time.monotonic()
        self._bar.start()
        return self

    def succeed(self, seconds: float) -> None:
        """A file of so many seconds of audio is done."""
        self.done += 1
        self.seconds += seconds
        self._bar.advance(self._task)

    def skip(self) -> None:
        """A file needs nothing."""
        self.skipped += 1
        self._bar.advance(self._task)

    @contextmanager
    def attempt(self, source: Path) -> Iterator[None]:
        """What goes wrong with a file in this block is that file's failure; the others go on."""
        try:
            yield
        except (SemtokError, OSError) as error:
            self.fail(source, error)

    def fail(self, source: Path, error: Exception) -> None:
        """A file cannot be used: said at once, and the others go on."""
        self.failed += 1
        where = "" if str(source) in str(error) else f"{source}: "
        self._bar.console.print(f"failed: {where}{error}", style="red", markup=False)
        self._bar.advance(self._task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        if error is None:
            for line in self._left_out:
                typer.echo(line, err=True)
            typer.echo(self._summary(), err=self._summary_on_stderr)
            if self.failed:
                raise typer.Exit(1)

    def _summary(self) -> str:
        took = time.monotonic() - self._start
        files = f"{self.done} file" if self.done == 1 else f"{self.done} files"
        parts = [f"{self.verb} {files}"]
        if self.done:
            parts.append(f"{self.seconds:.1f} s of audio in {took:.1f} s ({self.seconds / took:.1f} x real time)")
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)
