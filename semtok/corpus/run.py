"""`run.json`: what all who work on a corpus must agree on, written once by whoever comes first."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semtok import __version__
from semtok.checkpoints.config import config_entries, read_config
from semtok.codebooks.codebooks import Codebooks
from semtok.corpus.plan import Plan
from semtok.errors import ConfigError, CorpusError, check_positive
from semtok.speech.columns import RESERVED, TYPES
from semtok.support.atomic import write_once
from semtok.support.json import read_json

MOST_SHARDS = 100_000
"""More would be so many that telling which are there takes minutes."""

RUN = "run.json"
_LOCKED = ("fingerprint", *Codebooks.ENTRIES, "dtype", "rows", "plan", "num_shards")


@dataclass(frozen=True)
class CorpusRun:
    """Which clips become which tokens, in how many shards.

    Args:
        fingerprint: of the tokenizer.
        codebooks: of the layers that are encoded; the file has the lists of `Codebooks.entries` in its place.
        frame_rate: frames a second.
        sample_rate: of the tokenizer, Hz.
        dtype: of the encoder; only float32 is exact.
        plan, rows: digest and length of the list of clips.
        num_shards: files that it becomes.
        columns: passed through, with their types.
        rows_are_clips: whether a row of the plan is one clip.
        source: where the clips are; not locked, as they may be moved.
        checkpoint: where the tokenizer was loaded from; None if it was made otherwise.
        semtok: version that began it.
    """

    fingerprint: str
    codebooks: Codebooks
    frame_rate: float
    sample_rate: int
    dtype: str
    plan: str
    rows: int
    num_shards: int
    columns: dict[str, str]
    rows_are_clips: bool
    source: str
    checkpoint: str | None = None
    semtok: str = __version__

    def __post_init__(self) -> None:
        check_positive(self, "frame_rate", "sample_rate", "rows", "num_shards")
        if self.num_shards > MOST_SHARDS:
            raise ConfigError(f"num_shards must be at most {MOST_SHARDS}, got {self.num_shards}")
        if not re.fullmatch(r"\w+", self.plan):
            raise ConfigError(f"plan must be a digest, got {self.plan!r}")
        for name, kind in self.columns.items():
            if name in (*RESERVED, *self.codebooks.columns) or kind not in TYPES:
                raise ConfigError(f"columns must be others than those of tokens, of {TYPES}, got {name!r}: {kind!r}")

    @property
    def digest(self) -> str:
        """Of all that decides what a shard holds."""
        entries = config_entries(self)
        locked = {name: entries[name] for name in _LOCKED}
        return hashlib.sha256(json.dumps(locked).encode()).hexdigest()[:16]

    def slice(self, shard: int) -> tuple[int, int]:
        """The rows of the plan that are a shard's."""
        return Plan(self.plan, self.rows).slice(shard, self.num_shards)

    def lock(self, folder: Path) -> CorpusRun:
        """Writes `run.json`, or finds that it says the same; what it says.

        Raises:
            CorpusError: it says something else, or cannot be read.
        """
        entries = {**config_entries(self), "checkpoint": self.checkpoint}
        text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
        return self if write_once(folder / RUN, text) else self._agree(folder)

    def _agree(self, folder: Path) -> CorpusRun:
        there = read_run(folder)
        begun, wanted = config_entries(there), config_entries(self)
        for name in _LOCKED:
            if (locked := begun[name]) != (asked := wanted[name]):
                what = "the clips listed in plan" if name == "plan" else f"{name} ="
                raise CorpusError(
                    f"{folder} was begun with {what} {locked!r}, this run has {asked!r}: "
                    "run it as it was begun, or give another folder"
                )
        return there


def read_run(folder: Path) -> CorpusRun:
    """What `run.json` of a corpus says.

    Raises:
        CorpusError: there is none, or none that this version reads.
    """
    path = folder / RUN
    if not path.exists():
        raise CorpusError(f"{folder} is no corpus of tokens: it has no {RUN} (looked from {Path.cwd()})")
    try:
        return read_config(read_json(path, CorpusError), CorpusRun, str(path))
    except ConfigError as error:
        raise CorpusError(f"{error}; it is damaged, or of another version of semtok") from error


def is_one_of_several(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is a task of a Slurm array, or one of torchrun's; `CorpusError` as `own_shards`."""
    return "SLURM_ARRAY_TASK_ID" in environment or _rank(environment)[1] > 1


def own_shards(num_shards: int, environment: Mapping[str, str] = os.environ) -> list[int]:
    """The shards that are this process's.

    The tasks of a Slurm array of as many tasks as there are shards have one each, in order, whatever the numbers of the
    tasks; of another array, such as one of the shards that are missing, a task has the shard of its number. Of W
    processes of torchrun, process r has shards r, r + W, r + 2 W ... Any other process has all.

    Raises:
        CorpusError: variables of the environment that make no sense together.
    """
    if "SLURM_ARRAY_TASK_ID" in environment:
        task = _number(environment, "SLURM_ARRAY_TASK_ID", 0)
        first, last = (_number(environment, f"SLURM_ARRAY_TASK_{end}", task) for end in ("MIN", "MAX"))
        count, step = (_number(environment, f"SLURM_ARRAY_TASK_{name}", 1) for name in ("COUNT", "STEP"))
        return [(task - first) // step] if count == num_shards and last - first == (count - 1) * step else [task]
    rank, processes = _rank(environment)
    return list(range(rank, num_shards, processes))


def default_num_shards(rows: int, rows_a_shard: int, environment: Mapping[str, str] = os.environ) -> int:
    """As many as a Slurm array has tasks; else one for so many rows, and no fewer than torchrun has processes."""
    if "SLURM_ARRAY_TASK_COUNT" in environment:
        return _number(environment, "SLURM_ARRAY_TASK_COUNT", 1)
    return max(-(-rows // rows_a_shard), _rank(environment)[1])


def _rank(environment: Mapping[str, str]) -> tuple[int, int]:
    """The number of this process among those of torchrun, and how many they are."""
    rank, processes = _number(environment, "RANK", 0), _number(environment, "WORLD_SIZE", 1)
    if not rank < processes or ("RANK" not in environment and processes > 1):
        raise CorpusError(
            f"WORLD_SIZE is {environment.get('WORLD_SIZE')} and RANK {environment.get('RANK')} in the environment, so "
            "that it is not known which shards are this process's: torchrun sets both; unset them, or name the shards"
        )
    return rank, processes


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise CorpusError(f"{name} must be a whole number, got {text!r} in the environment")
    return int(text)
