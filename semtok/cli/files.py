"""Which files a command reads, and which ones it writes of them; "-" is standard input or output."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from semtok.audio.files import AUDIO_SUFFIXES, WRITTEN_SUFFIXES, has_suffix, list_folder
from semtok.errors import AudioError

TOKENS = (".safetensors",)
STANDARD = Path("-")


@dataclass(frozen=True)
class Job:
    """One file to read, and the file to write of it."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """What a command is to do, and what it leaves out of the folders it was given, a line each."""

    jobs: list[Job]
    left_out: list[str]


def plan_from_audio(inputs: Sequence[Path], output: Path, *, written: Sequence[str]) -> Plan:
    """Pairs every input file with its output, before anything is done.

    Args:
        inputs: existing files of any suffix; manifests and folders of whole files.
        output: a file ending in one of `written`, or standard output, for a single file; else a folder, in which paths
            below an input folder are kept and suffixes become `written[0]`.

    Raises:
        typer.BadParameter: no input in the folders, a file as output of several or of a folder, two inputs with the
            same output, or an output that is an input.
    """
    return _plan(inputs, output, AUDIO_SUFFIXES, written)


def plan_from_tokens(inputs: Sequence[Path], output: Path) -> Plan:
    """As `plan_from_audio`, for files of tokens and audio made of them."""
    return _plan(inputs, output, TOKENS, WRITTEN_SUFFIXES)


def _plan(inputs: Sequence[Path], output: Path, read: tuple[str, ...], written: Sequence[str]) -> Plan:
    for path in inputs:
        if path != STANDARD and not path.exists():
            raise typer.BadParameter(f"path {str(path)!r} does not exist", param_hint="IN")
    several = len(inputs) > 1 or inputs[0].is_dir() or _is_manifest(inputs[0], read)
    left_out: list[str] = []
    if output == STANDARD:
        if several:
            raise _wrong_output("standard output can take one file only: for several, or a folder, give a folder")
        if sys.stdout.isatty():
            raise _wrong_output("this would write a file to the terminal: pipe it, or give the name of a file")
        jobs = [Job(inputs[0], output)]
    elif output.is_dir():
        jobs = _into_folder(inputs, output, read, written[0], left_out)
    elif output.suffix.lower() in written:
        if several:
            raise _wrong_output(f"{output} can take one file only: for several, or a folder, give a folder")
        jobs = [Job(inputs[0], output)]
    elif output.exists():
        raise _wrong_output(f"{output} is a file: give a folder, or a file ending in {' or '.join(written)}")
    elif output.suffix and not several:
        raise _wrong_output(
            f"{output} does not end in {' or '.join(written)}: give such a file, or make the folder first if it is one"
        )
    else:
        jobs = _into_folder(inputs, output, read, written[0], left_out)
    _check_targets(jobs)
    return Plan(jobs, left_out)


def plan_to_print(inputs: Sequence[Path]) -> Plan:
    """As `plan_from_audio`, where a line for each file goes to standard output."""
    jobs: dict[Path, Job] = {}
    left_out: list[str] = []
    for path in inputs:
        if path != STANDARD and not path.exists():
            raise typer.BadParameter(f"path {str(path)!r} does not exist", param_hint="IN")
        sources = [path]
        if path.is_dir() or _is_manifest(path, AUDIO_SUFFIXES):
            sources = _list(path, AUDIO_SUFFIXES, None, left_out)
        jobs |= {source: Job(source, STANDARD) for source in sources}
    return Plan(list(jobs.values()), left_out)


def _is_manifest(path: Path, read: tuple[str, ...]) -> bool:
    from semtok.speech.sources.files import MANIFESTS

    return read is AUDIO_SUFFIXES and path.suffix in MANIFESTS


def _into_folder(
    inputs: Sequence[Path], folder: Path, read: tuple[str, ...], suffix: str, left_out: list[str]
) -> list[Job]:
    jobs = []
    for path in inputs:
        if path.is_dir() or _is_manifest(path, read):
            root = path if path.is_dir() else path.parent
            names = {file: _below(file, root) for file in _list(path, read, folder, left_out)}
        else:
            names = {path: Path("stdin") if path == STANDARD else Path(path.name)}
        jobs += [Job(source, folder / name.with_suffix(suffix)) for source, name in names.items()]
    return list(dict.fromkeys(jobs))


def _list(path: Path, read: tuple[str, ...], skip: Path | None, left_out: list[str]) -> list[Path]:
    """The files of a folder or manifest; what is left out of it becomes a line of `left_out`."""
    if read is AUDIO_SUFFIXES:
        files, others = _list_audio(path, skip)
    else:
        listing = list_folder(path, has_suffix(read), skip=skip)
        files, others = listing.paths, listing.describe_left_out()
        if not files:
            raise typer.BadParameter(f"there are no {', '.join(read)} files in {path}", param_hint="IN")
    if others:
        left_out.append(f"left out of {path}: {others}")
    return files


def _list_audio(path: Path, skip: Path | None) -> tuple[list[Path], str]:
    from semtok.speech.sources import FileSource, open_source

    try:
        source = open_source(path, skip=skip)
        clips = list(source.rows())
    except AudioError as error:
        raise typer.BadParameter(str(error), param_hint="IN") from error
    if not isinstance(source, FileSource) or any(clip.start is not None for clip in clips):
        raise typer.BadParameter(
            f"{path} holds segments, or clips in archives, and not whole files: encode it with `semtok encode-corpus`",
            param_hint="IN",
        )
    return [Path(source.locate(clip)) for clip in clips], source.left_out


def _below(file: Path, root: Path) -> Path:
    """Its path below a folder; its name alone if it is not below, as a manifest may list it."""
    return file.relative_to(root) if file.is_relative_to(root) and ".." not in file.parts else Path(file.name)


def _check_targets(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.target != STANDARD and job.target.resolve() in sources:
            raise _wrong_output(f"{job.target} is an input and would be overwritten: give another folder or name")
        if job.target in seen:
            raise _wrong_output(
                f"{seen[job.target]} and {job.source} would both be written to {job.target}: "
                "rename one, give a folder above both, or run twice with different outputs"
            )
        seen[job.target] = job.source


def _wrong_output(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--output")


@contextmanager
def readable(source: Path) -> Iterator[Path]:
    """The path of a file to read; a copy of standard input, if it is that."""
    if source != STANDARD:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


@contextmanager
def writable(target: Path, suffix: str) -> Iterator[Path]:
    """The path of a file to write, in a folder that exists; what is written goes to standard output, if it is that."""
    if target != STANDARD:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield target
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"stdout{suffix}"
        yield path
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
