"""What a command over many files shows: a bar and the failures on stderr, one line of summary on stdout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from semtok.cli.files import STANDARD, Plan
from semtok.errors import SemtokError
from semtok.support.progress import ProgressBar, counted, progress_bar


@contextmanager
def file_progress(doing: str, done: str, plan: Plan, output: Path) -> Iterator[FileProgress]:
    """Counts files while the block runs; at the end prints the summary, and exits with code 1 if files failed.

    The bar appears in a terminal only.

    Args:
        doing, done: the verb, for the bar and for the summary.
        plan: the files; what it leaves out is told on stderr.
        output: where they go; the summary goes to stderr if that, or an input, is a standard stream.
    """
    start = time.monotonic()
    with progress_bar(doing, len(plan.jobs), visible=None) as bar:
        progress = FileProgress(bar)
        yield progress
    for line in plan.left_out:
        typer.echo(line, err=True)
    piped = STANDARD in {output, *(job.source for job in plan.jobs)}
    typer.echo(f"{done} {progress.summarise(time.monotonic() - start)}", err=piped)
    if progress.failed:
        raise typer.Exit(1)


class FileProgress:
    """Counts the files that are done, need nothing, or fail."""

    def __init__(self, bar: ProgressBar) -> None:
        self.done = self.failed = self.skipped = 0
        self.seconds = 0.0
        self._bar = bar

    def succeed(self, seconds: float) -> None:
        """A file of so many seconds of audio is done."""
        self.done += 1
        self.seconds += seconds
        self._bar.advance()

    def skip(self) -> None:
        """A file needs nothing."""
        self.skipped += 1
        self._bar.advance()

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
        self._bar.print(f"failed: {where}{error}", style="red")
        self._bar.advance()

    def summarise(self, took: float) -> str:
        """Such as "2 files, 7.1 s of audio in 0.2 s (35.5 x real time), 1 failed", after so many seconds."""
        parts = [counted(self.done, "file")]
        if self.done:
            parts.append(f"{self.seconds:.1f} s of audio in {took:.1f} s ({self.seconds / took:.1f} x real time)")
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)
