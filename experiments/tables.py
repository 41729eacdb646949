"""The results of an experiment as a Markdown table, JSON and a figure."""

from __future__ import annotations

import datetime
import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from semtok.support.atomic import atomic_write

Results: TypeAlias = dict[str, dict[str, list[dict[str, float]]]]
"""Series -> point on the axis -> the scores of each seed."""

Summary: TypeAlias = dict[str, dict[str, float]]
"""Metric -> mean and standard deviation over seeds, and their number."""

_COLUMNS = {
    "kbit_s": ("kbit/s", 2),
    "features": ("features explained ↑", 3),
    "stoi": ("STOI ↑", 3),
    "pesq": ("PESQ ↑", 2),
    "log_mel_distance": ("log-mel distance ↓", 3),
    "dnsmos": ("DNSMOS ↑", 2),
    "speaker_similarity": ("speaker similarity ↑", 3),
}


def new_results() -> Results:
    return defaultdict(lambda: defaultdict(list))


def mean_over_clips(scores: Mapping[str, Sequence[float]], chosen: np.ndarray | None = None) -> dict[str, float]:
    """Means of each metric over clips, or those `chosen` (bool [clips]), leaving out where it is not defined."""
    means = {}
    for name, values in scores.items():
        of_clips = np.array(values) if chosen is None else np.array(values)[chosen]
        defined = of_clips[~np.isnan(of_clips)]
        means[name] = float(defined.mean()) if len(defined) else math.nan
    return means


def write_results(
    folder: Path,
    name: str,
    results: Results,
    *,
    axis: str,
    series: str,
    facts: str,
) -> None:
    """Writes `NAME.md`, `.json` and `.png`, and prints the table.

    Args:
        axis, series: what the points and the series are, for the headings.
        facts: what else is to be known of the setting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(label, point, _summary(seeds)) for label, points in results.items() for point, seeds in points.items()]
    order = list(dict.fromkeys(point for _, point, _ in rows))
    rows.sort(key=lambda row: order.index(row[1]))
    shown = [column for column in _COLUMNS if any(column in summary for _, _, summary in rows)]
    lines = [
        "| " + " | ".join([axis, series, *(_COLUMNS[column][0] for column in shown)]) + " |",
        "|---|---" + "|---:" * len(shown) + "|",
        *(f"| {point} | {label} | {' | '.join(_cell(summary, c) for c in shown)} |" for label, point, summary in rows),
    ]
    about = f"{facts}. {cpu_name()}, {os.cpu_count()} cores, torch {torch.__version__}, {datetime.date.today()}."
    command = f"`python {' '.join(sys.argv)}`"
    text = "\n".join([*lines, "", about, "", command, ""])
    record = [{series: label, axis: point, **_finite(summary)} for label, point, summary in rows]
    with atomic_write(folder / f"{name}.md") as aside:
        aside.write_text(text, encoding="utf-8")
    with atomic_write(folder / f"{name}.json") as aside:
        aside.write_text(json.dumps({"about": about, "command": command, "rows": record}, indent=2) + "\n")
    with atomic_write(folder / f"{name}.png") as aside:
        _plot(rows, [c for c in shown if c != "kbit_s"], axis, series, aside)
    print(text)


def print_means(scores: Mapping[str, Mapping[str, Sequence[float]]], error: str) -> None:
    """Rows of means over clips, and of `errors` over all `words` in percent, under the name of that error."""
    measures = list(dict.fromkeys(name for row in scores.values() for name in row if name not in ("errors", "words")))
    print(f"| | {' | '.join([*measures, error])} |\n|---|{'---:|' * (len(measures) + 1)}")
    for name, values in scores.items():
        cells = [f"{np.nanmean(values[measure]):.2f}" if measure in values else "-" for measure in measures]
        cells.append(f"{100 * sum(values['errors']) / sum(values['words']):.1f} %" if values.get("words") else "-")
        print(f"| {name} | {' | '.join(cells)} |")


def _summary(seeds: Sequence[Mapping[str, float]]) -> Summary:
    return {
        metric: {
            "mean": float(np.mean([scores[metric] for scores in seeds])),
            "std": float(np.std([scores[metric] for scores in seeds], ddof=1)) if len(seeds) > 1 else 0.0,
            "seeds": len(seeds),
        }
        for metric in seeds[0]
    }


def _finite(summary: Summary) -> dict[str, dict[str, float | None]]:
    """JSON has no NaN: null."""
    return {m: {key: None if math.isnan(v) else v for key, v in seeds.items()} for m, seeds in summary.items()}


def _cell(summary: Summary, column: str) -> str:
    if column not in summary:
        return ""
    decimals = _COLUMNS[column][1]
    mean, std = (f"{summary[column][key]:.{decimals}f}" for key in ("mean", "std"))
    return mean if summary[column]["std"] < 1e-9 else f"{mean} ± {std}"


def _plot(
    rows: Sequence[tuple[str, str, Summary]],
    metrics: Sequence[str],
    axis: str,
    series: str,
    path: Path,
) -> None:
    """A panel a metric: its mean and standard deviation over the axis, a line a series."""
    from matplotlib.figure import Figure

    columns = math.ceil(len(metrics) / 2)
    figure = Figure(figsize=(5 * columns, 7.5), layout="constrained")
    panels = figure.subplots(2, columns).flat
    for panel, metric in zip(panels, metrics, strict=False):
        for number, label in enumerate(dict.fromkeys(label for label, _, _ in rows)):
            own = [(point, summary) for of, point, summary in rows if of == label]
            panel.errorbar(
                [point for point, _ in own],
                [summary[metric]["mean"] for _, summary in own],
                yerr=[summary[metric]["std"] for _, summary in own],
                marker="osD^vP"[number % 6],
                capsize=3,
                label=label,
            )
        heading = _COLUMNS[metric][0]
        panel.set_title(heading.replace("↑", "(higher is better)").replace("↓", "(lower is better)"))
        panel.set_xlabel(axis)
        panel.grid(alpha=0.3)
    for panel in figure.axes[len(metrics) :]:
        panel.remove()
    legend = figure.axes[0].get_legend_handles_labels()
    figure.legend(*legend, title=series, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, format="png", dpi=110)


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
