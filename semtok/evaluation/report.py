"""What an evaluation found, for people and programs: a Markdown table, JSON, and a plot of quality over bitrate."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from semtok import __version__
from semtok.evaluation.resynthesis import Resynthesis, Row
from semtok.files.atomic import atomic_write

_PACKAGES = ("torch", "transformers", "pystoi", "pesq", "speechmos", "resemblyzer", "pocketsphinx")


@dataclass(frozen=True)
class _Column:
    """How one metric is shown: `scale` times its value, better the way `arrow` points.

    The originals have a figure of their own (`original`) where the metric does not compare with them.
    """

    name: str
    title: str
    arrow: str
    decimals: int
    scale: float = 1.0
    original: bool = False

    @property
    def heading(self) -> str:
        return f"{self.title} {self.arrow}"


_COLUMNS = (
    _Column("stoi", "STOI", "↑", 3),
    _Column("pesq", "PESQ", "↑", 2),
    _Column("log_mel_distance", "log-mel distance", "↓", 3),
    _Column("dnsmos", "DNSMOS", "↑", 2, original=True),
    _Column("speaker_similarity", "speaker similarity", "↑", 3),
    _Column("wer", "WER, %", "↓", 1, 100.0, original=True),
)


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
    rows = [_finite(dataclasses.asdict(row)) for row in result.rows]
    with atomic_write(markdown) as table, atomic_write(data) as numbers, atomic_write(plot) as picture:
        table.write_text(_markdown(result, facts, plot.name), encoding="utf-8")
        numbers.write_text(json.dumps(facts | {"rows": rows}, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        _plot(result, checkpoint, picture)
    return markdown, data, plot


def _facts(result: Resynthesis, checkpoint: str, command: str) -> dict[str, Any]:
    """What has to be known to judge or repeat the numbers."""
    return {
        "checkpoint": checkpoint,
        "fingerprint": result.fingerprint,
        "clips": result.clips,
        "seconds": round(result.seconds, 2),
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count()},
        "versions": {"semtok": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: null."""
    return row | {"scores": {name: None if math.isnan(value) else value for name, value in row["scores"].items()}}


def _markdown(result: Resynthesis, facts: dict[str, Any], plot: str) -> str:
    original, *subsets = result.rows
    lines = [
        f"# Resynthesis by {facts['checkpoint']}",
        "",
        "| layers | kbit/s | " + " | ".join(column.heading for column in _COLUMNS) + " |",
        "|---" + "|---:" * (1 + len(_COLUMNS)) + "|",
        *(_table_row(row) for row in result.rows),
        "",
        f"![quality over bitrate]({plot})",
        "",
        f"- {result.clips} clips, {result.seconds:.1f} s. Means over clips; first the recordings themselves.",
        f"- WER: pocketsphinx, all errors over all words, on the {original.clips['wer']} clips with an English text.",
        *_undefined(result),
        *(
            f"- {_name(row)}: output {row.scores['delay']:+.0f} ms late (median), not corrected."
            for row in _late(subsets)
        ),
        f"- Tokenizer `{result.fingerprint}`.",
        f"- {facts['date']}, {facts['machine']['cores']} cores of {facts['machine']['cpu']}.",
        "- " + ", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
        f"- `{facts['command']}`",
    ]
    return "\n".join(lines) + "\n"


def _table_row(row: Row) -> str:
    values = [row.scores[column.name] * column.scale for column in _COLUMNS]
    cells = ["–" if math.isnan(v) else f"{v:.{c.decimals}f}" for c, v in zip(_COLUMNS, values, strict=True)]
    bitrate = "–" if row.bitrate is None else f"{row.bitrate / 1000:.2f}"
    return f"| {_name(row)} | {bitrate} | " + " | ".join(cells) + " |"


def _name(row: Row) -> str:
    return ", ".join(map(str, row.layers)) or "original"


def _undefined(result: Resynthesis) -> list[str]:
    """A line for each mean that some clips are missing from; the word error rate says its number of clips anyway."""
    return [
        f"- {column.title} of {_name(row)}: {row.clips[column.name]} of {result.clips} clips, not defined on others."
        for row in result.rows
        for column in _COLUMNS
        if column.name != "wer" and row.clips[column.name] < result.clips
    ]


def _late(rows: list[Row]) -> list[Row]:
    """Rows whose output is shifted by more than the few milliseconds that the metrics forgive."""
    return [row for row in rows if abs(row.scores["delay"]) > 3]


def _plot(result: Resynthesis, checkpoint: str, path: Path) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    original, *subsets = result.rows
    colors = colormaps["viridis"].resampled(len(subsets) + 1)
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    figure.suptitle(f"Resynthesis by {checkpoint}: quality over bitrate")
    for axes, column in zip(figure.subplots(2, 3).flat, _COLUMNS, strict=True):
        for index, row in enumerate(subsets):
            single = len(row.layers) == 1
            axes.plot(
                (row.bitrate or 0) / 1000,
                row.scores[column.name] * column.scale,
                "o" if single else "D",
                markersize=8,
                color=colors(index),
                label=f"layer {_name(row)}" if single else f"layers {_name(row)}",
            )
        if column.original and not math.isnan(original.scores[column.name]):
            axes.axhline(original.scores[column.name] * column.scale, color="gray", linestyle="--", label="original")
        axes.set(title=f"{column.title} ({'higher' if column.arrow == '↑' else 'lower'} is better)", xlabel="kbit/s")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    legend = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, format="png", dpi=120)
