"""What an evaluation found, for people and programs: a Markdown table, JSON, and a plot of quality over bitrate."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

from semtok import __version__
from semtok.evaluation.metrics import METRICS, Metric
from semtok.evaluation.resynthesis import Resynthesis, Row
from semtok.support.atomic import atomic_write
from semtok.support.json import finite

_PACKAGES = ("torch", "transformers", "pystoi", "pesq", "speechmos")


def write_report(
    result: Resynthesis, folder: str | os.PathLike[str], *, checkpoint: str, command: str
) -> tuple[Path, Path, Path]:
    """Write `resynthesis.md`, `.json` and `.png` into a folder, made if it is not there; each appears whole.

    Args:
        result: of `evaluate_resynthesis`.
        folder: where to; older reports in it are replaced.
        checkpoint: name of what was evaluated, for the heading.
        command: the command line that gives this report again.

    Returns:
        The three paths.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    markdown, data, plot = (folder / f"resynthesis.{suffix}" for suffix in ("md", "json", "png"))
    facts = _facts(result, checkpoint, command)
    rows = [finite(dataclasses.asdict(row)) for row in result.rows]
    with atomic_write(markdown) as table, atomic_write(data) as numbers, atomic_write(plot) as picture:
        table.write_text(_markdown(result, facts, plot.name), encoding="utf-8")
        numbers.write_text(json.dumps(facts | {"rows": rows}, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        _plot(result, checkpoint, picture)
    return markdown, data, plot


def _facts(result: Resynthesis, checkpoint: str, command: str) -> dict[str, Any]:
    return provenance(checkpoint, result.fingerprint, command, _PACKAGES) | {
        "judges": result.judges,
        "notes": result.notes,
        "metrics": {
            metric.name: {"heading": metric.heading, "unit": metric.unit, "decimals": metric.decimals}
            for metric in _columns(result)
        },
        "clips": result.clips,
        "seconds": round(result.seconds, 2),
    }


def provenance(checkpoint: str, fingerprint: str, command: str, packages: Sequence[str]) -> dict[str, Any]:
    """What has to be known to judge or repeat any numbers, with the versions of `packages`, which are installed."""
    return {
        "checkpoint": checkpoint,
        "fingerprint": fingerprint,
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count()},
        "versions": {"semtok": __version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
    }


def _origin(facts: dict[str, Any]) -> list[str]:
    return [
        f"- Tokenizer `{facts['fingerprint']}`.",
        f"- {facts['date']}, {facts['machine']['cores']} cores of {facts['machine']['cpu']}.",
        "- " + ", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
        f"- `{facts['command']}`",
    ]


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _columns(result: Resynthesis) -> list[Metric]:
    """The metrics that were measured."""
    return [metric for metric in METRICS if metric.name in result.rows[0].scores]


def _markdown(result: Resynthesis, facts: dict[str, Any], plot: str) -> str:
    columns = _columns(result)
    lines = [
        f"# Resynthesis by {facts['checkpoint']}",
        "",
        "| layers | kbit/s | " + " | ".join(column.heading for column in columns) + " |",
        "|---" + "|---:" * (1 + len(columns)) + "|",
        *(_table_row(row, columns) for row in result.rows),
        "",
        f"![quality over bitrate]({plot})",
        "",
        f"- {result.clips} clips, {result.seconds:.1f} s. Means over clips; first the recordings themselves. In "
        "brackets intervals of 95 %, by bootstrap over clips.",
        *(f"- {role.capitalize()}: {name}." for role, name in result.judges.items()),
        *(f"- {note}" for note in result.notes),
        *_undefined(result, columns),
        *(f"- {_name(row)}: output {row.delay:+.0f} ms late (median), not corrected." for row in _late(result.rows)),
        *_origin(facts),
    ]
    return "\n".join(lines) + "\n"


def _table_row(row: Row, columns: Sequence[Metric]) -> str:
    cells = [column.cell(row.scores[column.name], row.intervals[column.name]) for column in columns]
    bitrate = "–" if row.bitrate is None else f"{row.bitrate / 1000:.2f}"
    return f"| {_name(row)} | {bitrate} | " + " | ".join(cells) + " |"


def _name(row: Row) -> str:
    return ", ".join(map(str, row.layers)) or "original"


def _undefined(result: Resynthesis, columns: Sequence[Metric]) -> list[str]:
    """A line for each mean that some clips are missing from."""
    rows_by_gap: dict[tuple[str, int], list[str]] = {}
    for column in columns:
        for row in result.rows:
            if (count := row.clips[column.name]) < result.clips:
                rows_by_gap.setdefault((column.title, count), []).append(_name(row))
    return [
        f"- {title}: on {count} of {result.clips} clips"
        + ("." if len(names) == len(result.rows) else f" of {'; '.join(names)}, not defined on others.")
        for (title, count), names in rows_by_gap.items()
    ]


def _late(rows: Sequence[Row]) -> list[Row]:
    """Rows whose output is shifted by more than the few milliseconds that the metrics forgive."""
    return [row for row in rows if abs(row.delay) > 3]


def _plot(result: Resynthesis, checkpoint: str, path: Path) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    original, *subsets = result.rows
    columns = _columns(result)
    across = min(len(columns), 4)
    colors = colormaps["viridis"].resampled(len(subsets) + 1)
    figure = Figure(figsize=(4 * across, 3.75 * math.ceil(len(columns) / across)), layout="constrained")
    figure.suptitle(f"Resynthesis by {checkpoint}: quality over bitrate")
    grid = figure.subplots(math.ceil(len(columns) / across), across, squeeze=False).flat
    for axes, column in zip_longest(grid, columns):
        if column is None:
            axes.remove()
            continue
        for index, row in enumerate(subsets):
            single = len(row.layers) == 1
            axes.plot(
                (row.bitrate or 0) / 1000,
                column.shown(row.scores[column.name]),
                "o" if single else "D",
                markersize=8,
                color=colors(index),
                label=f"layer {_name(row)}" if single else f"layers {_name(row)}",
            )
        if column.absolute and not math.isnan(original.scores[column.name]):
            axes.axhline(column.shown(original.scores[column.name]), color="gray", linestyle="--", label="original")
        axes.set(title=f"{column.title}{column.unit and ', %'} ({column.better} is better)", xlabel="kbit/s")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    legend = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, format="png", dpi=120)
