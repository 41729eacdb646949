"""Tokenizers by the models that learn from them: a head for each task and tokenizer, on the same splits.

The protocol is that of Mousavi et al., "DASB - Discrete Audio and Speech Benchmark", 2024: tokens are frozen, heads are
small, and every tokenizer gets the same head, clips and steps. Training and test are those of `semtok train`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semtok.analysis.benchmark.codes import Figure
from semtok.analysis.benchmark.results import Benchmark, Entry, Measure
from semtok.analysis.benchmark.subjects import Subject
from semtok.downstream.tasks import TASKS, Task
from semtok.errors import ConfigError, SemtokError, TrainingError
from semtok.speech.reading import Speech
from semtok.support.intervals import Interval
from semtok.support.json import read_json
from semtok.training.config import load_config, read_yaml
from semtok.training.downstream import objective_of
from semtok.training.downstream.config import TaskConfig
from semtok.training.downstream.trainer import train_task

LEARNT = "What models learn from the tokens"

_OF_OTHERS = "tasks are learnt from tokens of semtok's checkpoints, and this is a codec of others"


@dataclass(frozen=True)
class BenchmarkTask:
    """A config of `semtok train`, called as its file.

    Args:
        config: its path.
        task: which its heads are of.
        changes: to the config, "key=value".
    """

    config: Path
    task: Task
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.config.stem

    def settings(self, *changes: str) -> TaskConfig:
        """The config with more changes."""
        kind: type[TaskConfig] = objective_of(self.task.name).Config
        return load_config(self.config, kind, [*self.changes, *changes])


def run_tasks(
    subjects: Sequence[Subject],
    configs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    changes: Sequence[str] = (),
) -> Benchmark:
    """Trains a head for each task and tokenizer, and gives its errors on the test clips.

    A head lies in a folder of its own, named by a digest of all its settings, and is trained once: what was stopped
    goes on, and a new tokenizer or task trains what is missing.

    Args:
        subjects: of `open_subjects`; codecs of others have a reason instead of figures.
        configs: YAML files of `semtok train`, of tasks that answer a label, a text or a score. Of each the folder, the
            tokenizer and the layers are replaced; the number of stages stays as it says.
        folder: of the heads.
        changes: to each config, "key=value".

    Raises:
        ConfigError: a config of no such task, on features, without test clips, or two of one name.
        SemtokError: no tokenizer is one of semtok's; what a config names cannot be read. All of this is found out
            before anything is trained.
    """
    if all(subject.load is None for subject in subjects):
        raise SemtokError(f"{', '.join(subject.name for subject in subjects)}: {_OF_OTHERS}")
    tasks = [_open_task(Path(config), tuple(changes)) for config in configs]
    if len({task.name for task in tasks}) < len(tasks):
        raise ConfigError(f"tasks are called as their files, got {', '.join(task.name for task in tasks)}")
    entries = tuple(Entry(subject.name, subject.title, subject.facts) for subject in subjects)
    measures: dict[str, dict[str, Measure]] = {task.name: {} for task in tasks}
    reasons: dict[tuple[str, str], str] = {}
    for subject, entry in zip(subjects, entries, strict=True):
        for task in tasks:
            try:
                figures = _errors(subject, task, Path(folder))
            except TrainingError as error:
                reasons[subject.name, task.name] = str(error)
                continue
            for rate, figure in figures.items():
                measure = _measure(task, rate)
                measures[task.name][measure.name] = measure
                entry.figures[measure.name] = figure
    for task in tasks:
        rows = measures[task.name] or {task.name: Measure(task.name, task.name, LEARNT, "lower", 1, "%")}
        measures[task.name] = rows
        for entry in entries:
            if (entry.name, task.name) in reasons:
                entry.missing.update(dict.fromkeys(rows, reasons[entry.name, task.name]))
    return Benchmark(tuple(measure for rows in measures.values() for measure in rows.values()), entries)


def _open_task(config: Path, changes: tuple[str, ...]) -> BenchmarkTask:
    entries = read_yaml(config)
    known = {task.file: task for task in TASKS.values() if task.form in ("describe", "compare")}
    sections = [name for name in known if isinstance(entries, dict) and name in entries]
    if len(sections) != 1:
        raise ConfigError(
            f"{config} is no config of a task that can be compared: expected one section of {', '.join(known)}, "
            f"got {', '.join(map(str, entries)) if isinstance(entries, dict) else entries!r}"
        )
    task = BenchmarkTask(config, known[sections[0]], changes)
    data = task.settings().data
    if data.features:
        raise ConfigError(f"{config} learns from features: leave out `features`, as tokens are compared")
    splits = {clip.columns.get("split") for clip in Speech(data.sources).clips}
    if not splits & set(data.test_splits):
        raise ConfigError(
            f"{config} has no test clips: expected a column `split` with {' or '.join(map(repr, data.test_splits))} in "
            f"{', '.join(map(str, data.sources))}, got {', '.join(sorted(map(repr, splits)))}"
        )
    return task


def _measure(task: BenchmarkTask, rate: str) -> Measure:
    name = f"{task.name}: {rate}"
    return Measure(name, name.replace("_", " "), LEARNT, "lower", 1, "%")


def _errors(subject: Subject, task: BenchmarkTask, folder: Path) -> dict[str, Figure]:
    """The error rates of a head, which is trained if it is not there.

    Raises:
        TrainingError: there is none; why is said.
    """
    if subject.load is None:
        raise TrainingError(_OF_OTHERS)
    replaced = {"tokenizer": subject.checkpoint, "data.layers": list(subject.tokenizer.codebooks.layers)}
    settings = task.settings(*(f"{name}={json.dumps(value)}" for name, value in replaced.items()))
    about = [dataclasses.asdict(settings) | {"folder": ""}, subject.tokenizer.fingerprint]
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
    settings = dataclasses.replace(settings, folder=str(folder / f"{task.name}-{digest}"))
    results = Path(settings.folder) / "test.json"
    if not results.exists():
        train_task(objective_of(task.task.name), settings, subject.load())
    if not results.exists():
        raise TrainingError(f"none of the test clips of {task.config} has what the task needs")
    entries = read_json(results, TrainingError)
    bitrate = subject.tokenizer.frame_rate * settings.data.select(subject.tokenizer.codebooks).bits
    return {
        rate: Figure(
            entries[rate], Interval(*interval or (math.nan, math.nan)), entries["clips"], f"{bitrate / 1000:.2f} kbit/s"
        )
        for rate, interval in entries["intervals"].items()
    }
