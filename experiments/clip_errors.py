"""Errors of runs of tasks, clip by clip, and what they say: rates, intervals, tests on the same clips."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from semtok.support.intervals import bootstrap_interval, mcnemar, paired_bootstrap

SPLITS = {"valid": "validation", "test": "test"}
# By path of a clip: its errors and what they are errors in.
ClipErrors = dict[str, tuple[float, float]]
# By seed and fold.
Runs = dict[str, ClipErrors]


def read_runs(folder: Path, split: str) -> dict[str, Runs]:
    """By variant, of the folders VARIANT-seed-SEED[-fold-FOLD] whose errors are those of clips."""
    found: dict[str, Runs] = defaultdict(dict)
    for path in sorted(folder.glob("*-seed-*/test_clips.csv")):
        variant, _, run = path.parent.name.partition("-seed-")
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        if len(header) > 2:
            found[variant][run] = {row[1]: (float(row[2]), float(row[3])) for row in rows if row[0] == split}
    return dict(found)


def over_runs(runs: Runs, chosen: Iterable[str]) -> ClipErrors:
    """The mean of each clip over the runs that have it."""
    errors = defaultdict(list)
    for run in chosen:
        for path, of in runs[run].items():
            errors[path].append(of)
    return {path: tuple(np.mean(of, axis=0)) for path, of in errors.items()}


def rate(runs: Runs) -> float:
    """Errors over all that there is to have errors in."""
    wrong, count = np.sum(list(over_runs(runs, runs).values()), axis=0)
    return float(wrong / count)


def cell(first: Runs, runs: Runs) -> str:
    """The rate in %, its interval over clips, and whether a test on the same clips calls it better or worse."""
    low, high = bootstrap_interval(*np.transpose(list(over_runs(runs, runs).values())))
    return f"{100 * rate(runs):.1f} ({100 * low:.0f} to {100 * high:.0f}){verdict(first, runs)}"


def verdict(first: Runs, runs: Runs) -> str:
    """By McNemar's test of one run each of clips that are right or wrong, else by the paired bootstrap."""
    common = sorted(first.keys() & runs.keys())
    one, other = over_runs(first, common), over_runs(runs, common)
    if not common or one.keys() != other.keys():
        return ""
    (before, count), (after, _) = (np.transpose([errors[path] for path in one]) for errors in (one, other))
    compared = paired_bootstrap(before, after, count)
    significant = compared.significant
    if len(common) == 1 and (count == 1).all():
        significant = mcnemar(before.astype(bool), after.astype(bool)) < 0.05
    if not significant:
        return ""
    return " better" if compared.difference < 0 else " worse"
