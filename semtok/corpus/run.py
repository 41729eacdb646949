"""`run.json`: what all who work on a corpus must agree on, written once by whoever comes first."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtok import __version__
from semtok.codebooks.codebooks import Codebooks
from semtok.corpus.plan import Plan
from semtok.errors import ConfigError, CorpusError
from semtok.support.atomic import write_once

_FILE = "run.json"
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
    checkpoint: str | None
    semtok: str = __version__

    @property
    def entries(self) -> dict[str, Any]:
        """What `run.json` holds."""
        entries: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            entries |= value.entries if isinstance(value, Codebooks) else {field.name: value}
        return entries

    @property
    def digest(self) -> str:
        """Of all that decides what a shard holds."""
        entries = self.entries
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
        text = json.dumps(self.entries, indent=1, ensure_ascii=False) + "\n"
        return self if write_once(folder / _FILE, text) else self._agree(folder)

    def _agree(self, folder: Path) -> CorpusRun:
        there = read_run(folder)
        begun, wanted = there.entries, self.entries
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
    path = folder / _FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        codebooks = Codebooks.from_rows(**{name: values.pop(name) for name in Codebooks.ENTRIES})
        run = CorpusRun(**values, codebooks=codebooks)
    except FileNotFoundError as error:
        raise CorpusError(f"{folder} is no corpus of tokens: it has no {_FILE} (looked from {Path.cwd()})") from error
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise CorpusError(f"cannot read {path}: {error}") from error
    return run


def is_one_of_several(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is a task of a Slurm array, or one of torchrun's."""
    return "SLURM_ARRAY_TASK_ID" in environment or "WORLD_SIZE" in environment


def own_shards(num_shards: int, environment: Mapping[str, str] = os.environ) -> list[int]:
    """The shards that are this process's.

    A task of a Slurm array has the shard of its number; of W processes of torchrun, process r has r, r + W, r + 2 W
    ...; any other has all.
    """
    if "SLURM_ARRAY_TASK_ID" in environment:
        return [int(environment["SLURM_ARRAY_TASK_ID"])]
    return list(range(int(environment.get("RANK", "0")), num_shards, int(environment.get("WORLD_SIZE", "1"))))


def default_num_shards(rows: int, rows_a_shard: int, environment: Mapping[str, str] = os.environ) -> int:
    """As many as a Slurm array has tasks; else one for so many rows, and no fewer than torchrun has processes."""
    if "SLURM_ARRAY_TASK_COUNT" in environment:
        return int(environment["SLURM_ARRAY_TASK_COUNT"])
    return max(-(-rows // rows_a_shard), int(environment.get("WORLD_SIZE", "1")))
