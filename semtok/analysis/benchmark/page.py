"""The page of a benchmark, `benchmark.html`, and its numbers as `benchmark.json` and `benchmark.csv` beside it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from semtok.analysis.benchmark.codes import Figure
from semtok.analysis.benchmark.results import Benchmark, Entry, Measure
from semtok.evaluation.published import Published, read_published
from semtok.evaluation.report import provenance
from semtok.support.atomic import atomic_write
from semtok.support.intervals import CONFIDENCE
from semtok.support.json import finite

_TEMPLATE = Path(__file__).with_name("benchmark.html")
_PACKAGES = ("torch", "transformers", "numpy", "librosa", "pystoi", "pesq", "speechmos")


def write_benchmark(result: Benchmark, folder: str | os.PathLike[str], *, command: str) -> tuple[Path, Path, Path]:
    """Writes the page and its numbers into a folder, made if it is not there; each appears whole.

    Args:
        result: of `run_benchmark`, `run_tasks` or `run_suite`, or of several, joined.
        folder: where to; an older benchmark in it is replaced.
        command: the command line that gives it again.

    Returns:
        The paths of the page, the JSON and the CSV.
    """
    import jinja2

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page, data, table = (folder / f"benchmark.{suffix}" for suffix in ("html", "json", "csv"))
    names = ", ".join(entry.title for entry in result.entries)
    fingerprints = ", ".join(entry.facts["fingerprint"] for entry in result.entries)
    facts = provenance(names, fingerprints, command, _PACKAGES) | {
        "clips": result.clips,
        "seconds": round(result.seconds, 1),
        "judges": result.judges,
        "confidence": CONFIDENCE,
    }
    published = read_published()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    html = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        facts=facts,
        entries=result.entries,
        sections=_sections(result),
        reasons=_reasons(result),
        notes=result.notes,
        details=_details(result.entries),
        published=[_published(title, list(rows)) for title, rows in groupby(published, attrgetter("group"))],
    )
    numbers = facts | {
        "entries": [dataclasses.asdict(entry) for entry in result.entries],
        "recordings": {name: dataclasses.asdict(figure) for name, figure in result.recordings.items()},
        "notes": list(result.notes),
        "published": [dataclasses.asdict(row) for row in published],
    }
    with atomic_write(page) as aside, atomic_write(data) as out, atomic_write(table) as rows:
        aside.write_text(html, encoding="utf-8")
        out.write_text(json.dumps(finite(numbers), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        _write_csv(result, rows)
    return page, data, table


def _sections(result: Benchmark) -> list[dict[str, Any]]:
    """Rows of cells, by section; rows that nothing is known of are left out of them."""
    measured = [
        measure for measure in result.measures if any(measure.name in entry.figures for entry in result.entries)
    ]
    return [
        {"title": title, "rows": [_row(measure, result) for measure in rows]}
        for title, rows in groupby(measured, attrgetter("section"))
    ]


def _row(measure: Measure, result: Benchmark) -> dict[str, Any]:
    figures = [entry.figures.get(measure.name) for entry in result.entries]
    recordings = result.recordings.get(measure.name)
    bounds = [bound for figure in (*figures, recordings) if figure for bound in _bounds(figure)]
    # From 0, so that a difference looks as small as it is.
    low, high = min(0.0, *bounds), max(0.0, *bounds)
    return {
        "heading": measure.heading,
        "cells": [_cell(measure, figure, low, high) for figure in figures],
        "recordings": _cell(measure, recordings, low, high),
    }


def _bounds(figure: Figure) -> list[float]:
    return [value for value in (figure.value, *figure.interval) if math.isfinite(value)]


def _cell(measure: Measure, figure: Figure | None, low: float, high: float) -> dict[str, Any]:
    """What a cell shows; `left`, `width` and `dot` are where its interval and value lie in the row, in per cent."""
    if figure is None:
        return {"value": "", "interval": "", "of": "", "left": None, "width": None, "dot": None}
    scale = 100 / (high - low) if high > low else 0.0
    known = all(map(math.isfinite, figure.interval)) and figure.interval.high > figure.interval.low
    return {
        "value": measure.shown(figure.value),
        "interval": " – ".join(map(measure.shown, figure.interval)) if known else "",
        "of": figure.of,
        "left": round((figure.interval.low - low) * scale, 1) if known else None,
        "width": round((figure.interval.high - figure.interval.low) * scale, 1) if known else None,
        "dot": round((figure.value - low) * scale, 1) if scale else None,
    }


def _reasons(result: Benchmark) -> list[dict[str, str]]:
    """What was not measured of which tokenizers, and why, those of one reason together."""
    entries, titles = result.entries, {measure.name: measure.title for measure in result.measures}
    missing: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        for name, reason in entry.missing.items():
            missing.setdefault((reason, entry.title), []).append(titles[name])
    together: dict[tuple[str, str], list[str]] = {}
    for (reason, title), names in missing.items():
        together.setdefault((reason, ", ".join(names)), []).append(title)
    return [
        {"reason": reason, "measures": names, "of": "" if len(of) == len(entries) else "; ".join(of)}
        for (reason, names), of in together.items()
    ]


def _details(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The figures behind the best ones."""
    return [
        {
            "title": f"{name} of {entry.title}",
            "rows": [
                {
                    "name": of,
                    "value": f"{figure.value:.3f}",
                    "interval": " – ".join(f"{x:.3f}" for x in figure.interval),
                }
                for of, figure in figures.items()
            ],
        }
        for entry in entries
        for name, figures in entry.details.items()
    ]


def _published(title: str, rows: Sequence[Published]) -> dict[str, Any]:
    """A group of systems as a table, and where it was read."""
    values = {(row.system, row.measure): row.value for row in rows}
    measures = list(dict.fromkeys(row.measure for row in rows))
    systems = list(dict.fromkeys(row.system for row in rows))
    return {
        "title": title,
        "measures": measures,
        "rows": [(system, [values.get((system, measure), "") for measure in measures]) for system in systems],
        "origins": dict.fromkeys(f"{row.source}; {row.data}" for row in rows),
    }


def _write_csv(result: Benchmark, path: Path) -> None:
    """A line a tokenizer and measure: the value, its interval and clips, or why there is none."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["tokenizer", "measure", "value", "low", "high", "clips", "of", "missing"])
        for measure in result.measures:
            for entry in result.entries:
                figure, reason = entry.figures.get(measure.name), entry.missing.get(measure.name, "")
                numbers = [figure.value, *figure.interval] if figure else [math.nan] * 3
                cells = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
                of = [figure.clips, figure.of] if figure else ["", ""]
                writer.writerow([entry.title, measure.name, *cells, *of, reason])
