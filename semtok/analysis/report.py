"""The report of a study: one HTML page with its figures, and all numbers as CSV and JSON beside it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semtok.analysis import figures
from semtok.analysis.clips import PHONES
from semtok.analysis.sounds import sounds_of
from semtok.analysis.study import Study
from semtok.analysis.tables.importance import importance
from semtok.analysis.tables.selection import recommend
from semtok.analysis.tables.table import Table, compare
from semtok.codebooks.layers import describe
from semtok.downstream import DownstreamModel
from semtok.errors import SemtokError, missing_extra
from semtok.evaluation.report import provenance
from semtok.support.atomic import atomic_write
from semtok.support.json import finite

_TEMPLATE = Path(__file__).with_name("report.html")
_PACKAGES = ("torch", "transformers", "numpy")


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Args:
        name: of its table, and of its CSV.
        title: its heading.
        caption: how its figure is to be read, and what may mislead.
        draw: its figure.
        sizes: of several codebook sizes, whether a figure of each stands beside those of the others, one figure draws
            all of them together, or it is the same for all.
    """

    name: str
    title: str
    caption: str
    draw: figures.Draw
    sizes: Literal["beside", "together", "same"] = "beside"


SECTIONS = (
    Section(
        "selection",
        "Which layers for which purpose",
        "The best 1, 2, 3 ... layers by greedy search: each set adds the layer that helps most. Bitrate is that of "
        "plain codes, all stages of a layer together. The knee of each codebook size, ringed, is the set farthest "
        "above the line from nothing to the best. Resynthesis is judged by STOI on excerpts; content and labels by "
        "the bits a frame that a small network reads from the codes of held-out clips. Bars and brackets are intervals "
        "of 95 %, by bootstrap over clips: sets whose intervals overlap widely may well be equal.",
        figures.draw_selection,
        sizes="together",
    ),
    Section(
        "codes",
        "The codes",
        "A row is a layer, or one of its residual stages (1.1, 1.2 ...). Left: bits a second of plain codes, of runs "
        "(code and length), and of both after ideal entropy coding by their frequencies. Right: share of the "
        "codebook that occurs, perplexity by codebook size (1: all codes equally often), and quantization error: the "
        "share of the variance of the layer's features that is left over after this stage.",
        figures.draw_codes,
    ),
    Section(
        "units",
        "Units",
        "A unit is a run of equal codes. Left: units a second. Right: how well they begin where phones and words do, "
        "within 20 ms: F1, and the R-value, which falls further where there are more units than phones. The table adds "
        "bits a second, of codes and lengths of runs after ideal entropy coding.",
        figures.draw_units,
    ),
    Section(
        "information",
        "What a row of codes tells",
        "Mutual information of code and label in a frame, as a share of the label's entropy; for phones this is "
        "PNMI. The plug-in estimate grows with the codebook and with little speech; an estimate of that bias is "
        "taken off it (Miller, which takes too little where frames are few). What is held out is a lower bound: one "
        "half of the clips is predicted by counts of the other. Compare rows of one codebook size, and first stages "
        "with first stages.",
        figures.draw_information,
    ),
    Section(
        "probes",
        "What a linear probe reads from a layer",
        "Bits a frame by which a linear probe on all stages of a layer shortens the label in clips, or of speakers, "
        "that it was not trained on. The table adds accuracies, by frame and by summing a clip's frames, and the "
        "share of the most frequent label as chance.",
        figures.draw_probes,
    ),
    Section(
        "shares",
        "What layers tell together and apart",
        "Bits a frame that a small network reads from the codes, all stages of a layer. Alone: from the layer by "
        "itself. Shapley share: its mean gain over all orders of adding layers; the shares add up to what all layers "
        "tell. Only in this layer: what is lost without it.",
        figures.draw_shares,
    ),
    Section(
        "between",
        "Mutual information between layers",
        "Between the codes of the first stages, by the smaller entropy of the two; 1: one tells the other. Held out, "
        "a lower bound: large codebooks on little speech come out too low.",
        figures.draw_between,
    ),
    Section(
        "similarity",
        "Similarity of the continuous features",
        "Projection-weighted canonical correlation (PWCCA) of the features before quantization, and of log-mel "
        "spectra; fitted on half of up to 10,000 frames and measured on the other.",
        figures.draw_similarity,
        sizes="same",
    ),
    Section(
        "stability",
        "Stability of the tokens",
        "Unit edit distance: codes, without repeats, to substitute, insert or delete, by those of the clean speech. "
        "White and pink noise, and up to six other clips at once (babble), so many dB below the speech; a room of "
        "0.35 s; resampling through 8 kHz; Opus at 16 kbit/s; half the amplitude; a shift by half a frame; speech 10 % "
        "faster. Larger codebooks and later stages change more easily.",
        figures.draw_stability,
    ),
    Section(
        "abx",
        "ABX of phones",
        "How often an example of a phone is nearer to another phone than to its own kind; 50 % is chance. Where the "
        "column context says same, both have the same neighbours, and where it says any they may have others: figures "
        "of the two do not compare. Distances are angles along the best warping in time, of the features or of the "
        "centroids.",
        figures.draw_abx,
    ),
    Section(
        "importance",
        "Layer importance in trained models",
        "Mean attention weight of each layer in models of tasks. Weights alone can mislead: a layer may be weighted "
        "little and still be the only one that tells something.",
        figures.draw_importance,
        sizes="same",
    ),
)


def write_report(
    study: Study | Sequence[Study],
    *,
    checkpoint: str,
    command: str,
    purposes: Sequence[str] | None = None,
    models: dict[str, DownstreamModel] | None = None,
) -> list[Path]:
    """Computes what is not there yet and writes `study.html`, `study.json` and a CSV a table into the study's folder.

    Args:
        study: or several, of one encoder on the same clips and in one folder, each with a codebook size of its own for
            all layers: they are shown beside each other, in the order given.
        checkpoint: name of what is studied.
        command: the command line that gives this report again.
        purposes: to select layers for; all that there are by default.
        models: of tasks on the tokenizer's tokens, by name, whose layer weights are shown.

    Returns:
        The paths of the page, the JSON and the CSVs.

    Raises:
        SemtokError: an unknown purpose; the extra `study` is not installed; codebook sizes that several studies share.
    """
    check_extra()
    studies = [study] if isinstance(study, Study) else list(study)
    sizes = [studied.tokenizer.codebook_sizes[0] for studied in studies]
    if len(set(sizes)) < len(sizes):
        raise SemtokError(f"studies are told apart by their codebook sizes, got {', '.join(map(str, sizes))}")
    each = {size: _tables(studied, purposes) for size, studied in zip(sizes, studies, strict=True)}
    first, frames = studies[0], studies[0].frames
    tables = _joined(each) | ({"importance": importance(models)} if models else {})
    fingerprints = ", ".join(studied.tokenizer.fingerprint for studied in studies)
    facts = provenance(checkpoint, fingerprints, command, _PACKAGES) | {
        "clips": len(set(frames.clips.tolist())),
        "seconds": round(frames.codes.shape[1] / frames.frame_rate, 1),
        "layers": list(first.layers),
        "codebook_sizes": [size for studied in studies for size in studied.tokenizer.codebook_sizes],
    }
    summary = _recommendations(tables["selection"])
    for size, studied in zip(sizes, studies, strict=True):
        prefix = f"K = {size}: " if len(sizes) > 1 else ""
        summary += [prefix + line for line in _summary(studied, each[size])]
    sounds = _sounds(first, tables["selection"]) if len(studies) == 1 else []
    return _write(first.folder, facts, summary, tables, sizes if len(sizes) > 1 else [], sounds)


def check_extra() -> None:
    """Raises `SemtokError` if what draws and judges is not installed, before hours of work."""
    missing = [name for name in ("librosa", "matplotlib", "pystoi") if importlib.util.find_spec(name) is None]
    if missing:
        raise missing_extra("study", missing)


def _tables(study: Study, purposes: Sequence[str] | None) -> dict[str, Table]:
    # codes first: whatever is wrong with the audio shows there
    return {
        "codes": study.codes(),
        "units": study.units(),
        "stability": study.stability(),
        "selection": _selections(study, purposes),
        "information": study.information(),
        "probes": study.probes(),
        "shares": study.shares(),
        "between": study.between(),
        "similarity": study.similarity(),
        "abx": study.abx(),
    }


def _joined(each: dict[int, dict[str, Table]]) -> dict[str, Table]:
    """One table of each name, from those of each codebook size."""
    (_, first), *others = each.items()
    if not others:
        return first
    same = {section.name for section in SECTIONS if section.sizes == "same"}
    return {
        name: table if name in same else compare({size: tables[name] for size, tables in each.items()})
        for name, table in first.items()
    }


def _selections(study: Study, purposes: Sequence[str] | None) -> Table:
    """The choices of all purposes, one after the other; what a purpose lacks becomes a note."""
    rows, notes = [], []
    for purpose in purposes or study.purposes:
        if purpose not in study.purposes:
            raise SemtokError(f"no purpose {purpose!r}: there are {', '.join(study.purposes)}")
        try:
            table = study.selection(purpose)
        except SemtokError as error:
            notes.append(f"Not for {purpose}: {error}.")
            continue
        rows += [{"purpose": purpose} | row for row in table.rows]
        notes += table.notes
    return Table([{"log_mel_distance": float("nan")} | row for row in rows], list(dict.fromkeys(notes)))


def _recommendations(selection: Table) -> list[str]:
    purposes = dict.fromkeys(row["purpose"] for row in selection.rows)
    return [recommend(Table(selection.of(purpose=purpose)), purpose) for purpose in purposes]


def _summary(study: Study, tables: dict[str, Table]) -> list[str]:
    """What a reader with a minute should know, beside the recommendations."""
    codes = tables["codes"].rows
    plain, coded = (sum(row[key] for row in codes) / 1000 for key in ("bitrate", "entropy_bitrate"))
    lines = [
        f"All {len(study.layers)} layers together take {plain:.2f} kbit/s, and {coded:.2f} kbit/s after entropy coding."
    ]
    first_stages = {study.frames.codebooks.names[row] for row in study.frames.first_rows().values()}
    for label in dict.fromkeys(row["label"] for row in tables["information"].rows):
        rows = [row for row in tables["information"].of(label=label) if row["row"] in first_stages]
        if label != "speaker given phone":
            lines.append(_best_row(label, rows))
    if tables["stability"].rows:
        changes = {
            row["row"]: sum(value for name, value in row.items() if name != "row") / (len(row) - 1)
            for row in tables["stability"].rows
        }
        stable, unstable = min(changes, key=changes.__getitem__), max(changes, key=changes.__getitem__)
        lines.append(
            f"Most stable: row {stable}, where {changes[stable]:.0%} of the units change on the average of the "
            f"conditions; least: row {unstable}, {changes[unstable]:.0%}."
        )
    if study.tokenizer.layer_weights:
        lines.append(f"Layers that are mixtures of others: {describe(study.tokenizer.layer_weights)}.")
    return lines


def _best_row(label: str, rows: list[dict[str, Any]]) -> str:
    best = max(rows, key=lambda row: row["held_out"])
    share = best["held_out"] / best["entropy"] if best["entropy"] else float("nan")
    measure = "PNMI" if label == PHONES else "share of its entropy"
    if not share > 0:
        return f"No first stage tells anything of {label} in clips that were held out."
    return (
        f"First stages tell most of {label} in row {best['row']}: {measure} {best['normalized']:.2f} by counting, "
        f"{share:.2f} held out."
    )


def _sounds(study: Study, selection: Table) -> list[tuple[str, list[str]]]:
    """Of the recommended sets of layers, if there is a vocoder that decodes them."""
    if study.vocoder is None:
        return []
    subsets = dict.fromkeys(tuple(row["layers"]) for row in selection.rows if row["knee"])
    decoded = [subset for subset in subsets if set(subset) <= set(study.vocoder.layers)]
    return sounds_of(study.tokenizer, study.vocoder, study.excerpts(), decoded)


def _write(
    folder: Path,
    facts: dict[str, Any],
    summary: list[str],
    tables: dict[str, Table],
    sizes: Sequence[int],
    sounds: list[tuple[str, list[str]]],
) -> list[Path]:
    """`sizes` are the codebook sizes to tell apart in the tables, if there are several."""
    import jinja2

    parts = [
        {
            "title": section.title,
            "caption": section.caption,
            "panels": _panels(section, table, sizes),
            "notes": table.notes,
            "columns": list(table.rows[0]) if table.rows else [],
            "rows": [[_shown(value) for value in row.values()] for row in table.rows],
            "csv": f"{section.name}.csv",
        }
        for section in SECTIONS
        if (table := tables.get(section.name)) is not None
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page, data = folder / "study.html", folder / "study.json"
    numbers = facts | {"summary": summary, "tables": {name: vars(table) for name, table in tables.items()}}
    with atomic_write(page) as html, atomic_write(data) as out:
        html.write_text(template.render(facts=facts, summary=summary, sections=parts, sounds=sounds), encoding="utf-8")
        out.write_text(json.dumps(finite(numbers), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    written = [page, data]
    for name, table in tables.items():
        if table.rows:
            table.write_csv(folder / f"{name}.csv")
            written.append(folder / f"{name}.csv")
    return written


def _panels(section: Section, table: Table, sizes: Sequence[int]) -> list[tuple[str, str]]:
    """Titles and figures of a section."""
    if not table.rows:
        return []
    if not sizes or section.sizes != "beside":
        return [("", section.draw(table))]
    of_sizes = ((size, table.of(codebook_size=size)) for size in sizes)
    return [(f"K = {size}", section.draw(Table(rows))) for size, rows in of_sizes if rows]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
