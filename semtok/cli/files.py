"""Which files a command reads, and which ones it writes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from semtok.audio.files import find_files

TOKENS = (".safetensors",)


@dataclass(frozen=True)
class Job:
    """One file to read, and the file to write of it."""

    source: Path
    target: Path


def plan(inputs: Sequence[Path], output: Path, *, read: Sequence[str], written: Sequence[str]) -> list[Job]:
    """Pairs every input file with its output, before anything is done.

    Args:
        inputs: existing files of any suffix, and folders, which are searched recursively for the suffixes `read`.
        output: a file ending in one of `written`, for a single file; else a folder, in which paths below an input
            folder are kept and suffixes become `written[0]`.

    Raises:
        typer.BadParameter: no input in the folders, a file as output of several or of a folder, two inputs with the
            same output, or an output that is an input.
    """
    if output.is_dir():
        jobs = _into_folder(inputs, output, read, written[0])
    elif output.suffix.lower() in written:
        if len(inputs) > 1 or inputs[0].is_dir():
            raise _wrong_output(f"{output} can take one file only: for several, or a folder, give a folder")
        jobs = [Job(inputs[0], output)]
    elif output.exists():
        raise _wrong_output(f"{output} is a file: give a folder, or a file ending in {' or '.join(written)}")
    elif output.suffix and len(inputs) == 1 and inputs[0].is_file():
        raise _wrong_output(
            f"{output} does not end in {' or '.join(written)}: give such a file, or make the folder first if it is one"
        )
    else:
        jobs = _into_folder(inputs, output, read, written[0])
    _check_targets(jobs)
    return jobs


def _into_folder(inputs: Sequence[Path], folder: Path, read: Sequence[str], suffix: str) -> list[Job]:
    jobs = [Job(source, folder / name.with_suffix(suffix)) for source, name in _find(inputs, read)]
    return list(dict.fromkeys(jobs))


def _find(inputs: Sequence[Path], suffixes: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """Every input file with its path below the input folder it is in."""
    for path in inputs:
        if path.is_file():
            yield path, Path(path.name)
            continue
        if not (found := find_files(path, suffixes)):
            raise typer.BadParameter(f"there are no {', '.join(suffixes)} files in {path}", param_hint="IN")
        yield from ((file, file.relative_to(path)) for file in found)


def _check_targets(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.target.resolve() in sources:
            raise _wrong_output(f"{job.target} is an input and would be overwritten: give another folder or name")
        if job.target in seen:
            raise _wrong_output(
                f"{seen[job.target]} and {job.source} would both be written to {job.target}: "
                "rename one, give a folder above both, or run twice with different outputs"
            )
        seen[job.target] = job.source


def _wrong_output(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--output")
