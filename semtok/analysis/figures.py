"""Figures of a study: each draws a table, as SVG text that stands in a page by itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semtok.analysis.tables.table import Table
from semtok.codebooks.layers import in_order
from semtok.errors import needs_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BITRATES = {
    "bitrate": "plain",
    "run_length_bitrate": "runs",
    "entropy_bitrate": "entropy coded",
    "run_entropy_bitrate": "runs, entropy coded",
}
_LIGHT_ABOVE = 0.6  # of the range of a heat map: where text has to be dark
# Okabe and Ito's, which the colour-blind tell apart
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
# The least range of the axis of a quality: less would draw differences that nobody hears as steep climbs.
_LEAST_RANGE = {"STOI": 0.02}
_LEAST_BITS = 0.1


def draw_codes(table: Table) -> str:
    """Bits a second of each row, plain and coded; used share of its codebook, and what it leaves unexplained."""
    names = [row["row"] for row in table.rows]
    figure = _figure(2, width=max(4.0, 0.6 * len(names)))
    rates, use = figure.subplots(1, 2)
    _bars(rates, names, {title: [row[key] for row in table.rows] for key, title in _BITRATES.items()})
    rates.set(ylabel="bit/s", xlabel="row")
    shares = {
        "codes used": [row["used"] for row in table.rows],
        "perplexity / K": [row["perplexity"] / row["codebook_size"] for row in table.rows],
        "unexplained variance": [row["unexplained"] for row in table.rows],
    }
    _bars(use, names, shares)
    use.set(ylim=(0, 1), xlabel="row")
    return _svg(figure)


def draw_units(table: Table) -> str:
    """Units a second of each row, and how well they begin where phones and words do, if that is known."""
    names = [row["row"] for row in table.rows]
    measures = {
        f"{tier}, {title}": [row[f"{tier}_{score}"] for row in table.rows]
        for tier in ("phones", "words")
        for score, title in (("f1", "F1"), ("r_value", "R-value"))
        if f"{tier}_{score}" in table.rows[0]
    }
    panels = 2 if measures else 1
    figure = _figure(panels, width=max(4.0, 0.6 * len(names)))
    rates, *scores = np.ravel(figure.subplots(1, panels))
    _bars(rates, names, {"units a second": [row["units_per_second"] for row in table.rows]})
    rates.set(xlabel="row")
    for axes in scores:
        _bars(axes, names, measures)
        axes.set(xlabel="row")
    return _svg(figure)


def draw_stability(table: Table) -> str:
    """Unit edit distance, by row and condition."""
    figure = _figure(1, width=11, height=2 + 0.4 * len(table.rows))
    names = [name for name in table.rows[0] if name != "row"]
    axes = figure.subplots()
    values = [[row[name] for name in names] for row in table.rows]
    rows = [row["row"] for row in table.rows]
    _heat_map(axes, values, rows, names, top=1.0, measure="share of the units that change", bad=True)
    axes.set(xlabel="what happens to the speech", ylabel="row")
    axes.tick_params(axis="x", labelrotation=45)
    return _svg(figure)


def draw_information(table: Table) -> str:
    """Share of each label's entropy that each row tells, with the plug-in estimate above the held-out one."""
    labels = list(dict.fromkeys(row["label"] for row in table.rows))
    figure = _figure(len(labels), width=max(3.5, 0.4 * len({row["row"] for row in table.rows})))
    for axes, label in zip(np.ravel(figure.subplots(1, len(labels), sharey=True)), labels, strict=True):
        rows = table.of(label=label)
        names = [row["row"] for row in rows]
        axes.plot(names, [row["normalized"] for row in rows], "o:", color="0.6", label="plug-in")
        corrected = [(row["bits"] - row["bias"]) / row["entropy"] if row["entropy"] else np.nan for row in rows]
        axes.plot(names, corrected, "o--", color="tab:blue", label="less its bias")
        axes.plot(
            names,
            [row["held_out"] / (row["entropy"] or np.nan) for row in rows],
            "o-",
            color="tab:orange",
            label="held out",
        )
        axes.set(title=label, xlabel="row", ylim=(-0.05, 1.05))
        axes.legend(fontsize=7)
    return _svg(figure)


def draw_probes(table: Table) -> str:
    """Bits that a linear probe reads from each layer."""
    return _by_layers(table, "bits", "bits a frame")


def draw_between(table: Table) -> str:
    """Mutual information of each two layers, by the smaller entropy of the two."""
    return _square(table, "layer", "share")


def draw_similarity(table: Table) -> str:
    """PWCCA of each two views."""
    both_ways = [*table.rows, *({**row, "view": row["other"], "other": row["view"]} for row in table.rows)]
    return _square(Table(both_ways), "view", "similarity")


def draw_shares(table: Table) -> str:
    """What each layer tells alone, its Shapley share, and what only it tells, for each label."""
    labels = list(dict.fromkeys(row["label"] for row in table.rows))
    figure = _figure(len(labels), width=4.0)
    for axes, label in zip(np.ravel(figure.subplots(1, len(labels))), labels, strict=True):
        rows = table.of(label=label)
        columns = {"alone": "alone", "shapley": "share of all (Shapley)", "conditional_gain": "only in this layer"}
        _bars(axes, [row["layer"] for row in rows], {text: [row[key] for row in rows] for key, text in columns.items()})
        axes.axhline(0, color="0.3", linewidth=0.8)
        axes.set(xlabel="layer", ylabel=f"bits of {label} a frame")
    return _svg(figure)


def draw_abx(table: Table) -> str:
    """ABX errors by layer."""
    figure = _figure(1, width=5.0)
    axes = figure.subplots()
    for speakers, style in (("within", "o-"), ("across", "s--")):
        rows = table.of(speakers=speakers)
        for key, color in (("tokens", "tab:orange"), ("features", "tab:blue")):
            errors = [100 * row[key] for row in rows]
            axes.plot(
                [str(row["layer"]) for row in rows], errors, style, color=color, label=f"{key}, {speakers} speakers"
            )
    axes.axhline(50, color="0.6", linewidth=0.8)
    axes.set(xlabel="layer", ylabel="ABX error, %", ylim=(0, 55))
    axes.legend()
    return _svg(figure)


def draw_selection(table: Table) -> str:
    """Quality over bitrate for each purpose, a curve for each codebook size; the knees are ringed."""
    purposes = list(dict.fromkeys(row["purpose"] for row in table.rows))
    figure = _figure(len(purposes), width=4.0)
    for axes, purpose in zip(np.ravel(figure.subplots(1, len(purposes))), purposes, strict=True):
        rows = table.of(purpose=purpose)
        sizes = list(dict.fromkeys(row.get("codebook_size") for row in rows))
        for size in sizes:
            _curve(axes, [row for row in rows if row.get("codebook_size") == size], f"K = {size}")
        if len(sizes) > 1:
            axes.legend(fontsize=7)
        axes.margins(0.15, 0.2)
        _widen(axes, _LEAST_RANGE.get(rows[0]["unit"], _LEAST_BITS))
        axes.set(title=purpose, xlabel="kbit/s", ylabel=rows[0]["unit"])
    return _svg(figure)


def _widen(axes: Axes, least: float) -> None:
    """Has the axis of y span so much at least, around what it shows."""
    low, high = axes.get_ylim()
    if high - low < least:
        middle = (low + high) / 2
        axes.set_ylim(middle - least / 2, middle + least / 2)


def _curve(axes: Axes, rows: Sequence[dict[str, Any]], label: str) -> None:
    rates, qualities = [row["bitrate"] / 1000 for row in rows], [row["quality"] for row in rows]
    ends = [[quality - row["low"], row["high"] - quality] for quality, row in zip(qualities, rows, strict=True)]
    axes.errorbar(rates, qualities, yerr=np.maximum(np.transpose(ends), 0), fmt="o-", capsize=3, label=label)
    for rate, quality, row in zip(rates, qualities, rows, strict=True):
        text = ", ".join(map(str, row["layers"]))
        axes.annotate(text, (rate, quality), xytext=(0, -12), textcoords="offset points", ha="center", fontsize=7)
        if row["knee"]:
            axes.plot(rate, quality, "o", markersize=14, fillstyle="none", color="tab:red")


def draw_importance(table: Table) -> str:
    """Mean weight of each layer in each model."""
    models = list(dict.fromkeys(row["model"] for row in table.rows))
    layers = in_order({row["layer"] for row in table.rows})
    weights = {
        model: [next((row["weight"] for row in table.of(model=model, layer=layer)), 0.0) for layer in layers]
        for model in models
    }
    figure = _figure(1, width=5.0)
    axes = figure.subplots()
    _bars(axes, layers, weights)
    axes.set(xlabel="layer", ylabel="mean weight")
    return _svg(figure)


def _by_layers(table: Table, key: str, ylabel: str) -> str:
    labels = list(dict.fromkeys(row["label"] for row in table.rows))
    figure = _figure(len(labels), width=3.5)
    for axes, label in zip(np.ravel(figure.subplots(1, len(labels))), labels, strict=True):
        rows = table.of(label=label)
        names = [str(row["layers"][0]) if len(row["layers"]) == 1 else "all" for row in rows]
        axes.bar(names, [row[key] for row in rows])
        axes.set(title=label, xlabel="layer", ylabel=ylabel)
    return _svg(figure)


def _square(table: Table, key: str, value: str) -> str:
    names = list(dict.fromkeys(row[key] for row in table.rows))
    known = {(row[key], row["other"]): row[value] for row in table.rows}
    figure = _figure(1, width=2 + 0.5 * len(names), height=1.2 + 0.5 * len(names))
    values = [[known[one, other] for other in names] for one in names]
    axes = figure.subplots()
    _heat_map(axes, values, names, names, top=1.0, measure=value)
    axes.set(xlabel=key, ylabel=key)
    return _svg(figure)


def _heat_map(
    axes: Axes,
    values: Sequence[Sequence[float]],
    rows: Sequence[Any],
    columns: Sequence[Any],
    *,
    top: float,
    measure: str,
    bad: bool = False,
) -> None:
    """Bright is high, or with `bad` low."""
    image = axes.imshow(values, vmin=0, vmax=top, cmap="viridis_r" if bad else "viridis", aspect="auto")
    axes.figure.colorbar(image, ax=axes, label=measure)
    axes.set_xticks(range(len(columns)), list(map(str, columns)))
    axes.set_yticks(range(len(rows)), list(map(str, rows)))
    if len(rows) <= 16:
        for i, line in enumerate(values):
            for j, number in enumerate(line):
                bright = number < (1 - _LIGHT_ABOVE) * top if bad else number > _LIGHT_ABOVE * top
                color = "black" if bright else "white"
                axes.text(j, i, f"{number:.2f}", ha="center", va="center", color=color, fontsize=8)


def _bars(axes: Axes, names: Sequence[Any], series: dict[str, list[float]]) -> None:
    """Bars beside each other, a colour for each series."""
    width = 0.8 / max(1, len(series))
    for number, (title, values) in enumerate(series.items()):
        places = np.arange(len(names)) + (number - (len(series) - 1) / 2) * width
        axes.bar(places, values, width, label=title, color=_COLOURS[number % len(_COLOURS)])
    axes.set_xticks(range(len(names)), list(map(str, names)))
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def _figure(panels: int, *, width: float = 5.0, height: float = 3.2) -> Figure:
    with needs_extra("study"):
        from matplotlib.figure import Figure

    return Figure(figsize=(panels * width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    """The element <svg>, with its text as text."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "semtok"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


Draw = Callable[[Table], str]
