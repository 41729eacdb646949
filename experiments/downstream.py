"""Which layers does a task use? Models of several tasks on all layers, on each alone, without each, and on baselines.

    python experiments/downstream.py manifests --data data       # the splits of the experiments, as manifests
    python experiments/downstream.py compare --task emotion      # or keywords, speaker, intent, verification, asr
    python experiments/downstream.py report                      # tables and the heat map, of what there is

Every run has a folder of its own in the output and is not repeated once its test.json is there, so a command that was
stopped goes on where it was. `--seeds`, `--variants` and `--steps` say how much of it to do; `figure` draws the weights
of trained models over time above a clip's spectrogram and words.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from clip_errors import SPLITS, cell, read_runs

from semtok import Tokenizer, load_audio
from semtok.checkpoints.config import read_config
from semtok.downstream import DownstreamModel, SpeechRecognizer
from semtok.downstream.ctc import align
from semtok.speech.reading import Speech
from semtok.training.downstream import objective_of
from semtok.training.downstream.trainer import train_task

Row = dict[str, str]

SETTINGS = Path(__file__).with_suffix(".yaml")
EMODB_PAIRS = (("03", "08"), ("09", "10"), ("11", "13"), ("12", "14"), ("15", "16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/downstream"))
    commands = parser.add_subparsers(dest="command", required=True)
    manifests = commands.add_parser("manifests")
    manifests.add_argument("--data", type=Path, default=Path("data"))
    compare = commands.add_parser("compare")
    compare.add_argument("--task", required=True, choices=yaml.safe_load(SETTINGS.read_text())["tasks"])
    compare.add_argument("--checkpoint", default="tiny")
    compare.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    compare.add_argument("--variants", nargs="+", help="as the folders are named: all, uniform, only-3, without-3 ...")
    compare.add_argument("--steps", type=int)
    commands.add_parser("report")
    figure = commands.add_parser("figure")
    figure.add_argument("audio", type=Path)
    figure.add_argument("--text", help="what is said; else what the recogniser hears")
    figure.add_argument("--recognizer", type=Path, required=True)
    figure.add_argument("--models", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    if options.command == "manifests":
        make_manifests(options.data, options.output / "manifests")
    elif options.command == "compare":
        compare_variants(options)
    elif options.command == "report":
        report(options.output)
    else:
        draw_weights(options)


# The splits


def make_manifests(data: Path, folder: Path) -> None:
    """One manifest for each task, or each fold of it, with the columns path, label, text, speaker and split."""
    folder.mkdir(parents=True, exist_ok=True)
    emotions = rows_of(data / "core/emodb")
    for number, test in enumerate(EMODB_PAIRS):
        valid = EMODB_PAIRS[(number + 1) % len(EMODB_PAIRS)]
        split = {f"emo{speaker}": name for name, pair in (("test", test), ("valid", valid)) for speaker in pair}
        write(folder / f"emotion-{number}.csv", [r | {"split": split.get(r["speaker"], "train")} for r in emotions])
    words = [row for row in rows_of(data / "extra/keywords") if "speech_commands" in row["path"]]
    write(folder / "keywords.csv", words)

    # Closed-set identification: the last 3 clips of each speaker of core are tested, the one before is for validation.
    core = rows_of(data / "core/so762_adult")
    names = {row["speaker"] for row in core}
    more = [r for part in ("extra/so762_adult2", "more/so762_adult3") for r in rows_of(data / part)]
    by_speaker = defaultdict(list)
    for row in core:
        by_speaker[row["speaker"]].append(row)
    closed = [row | {"split": "train"} for row in more if row["speaker"] in names]
    for clips in by_speaker.values():
        clips.sort(key=lambda row: row["path"])
        splits = ["train"] * (len(clips) - 4) + ["valid"] + ["test"] * 3
        closed += [row | {"split": split} for row, split in zip(clips, splits, strict=True)]
    write(folder / "speaker.csv", closed)
    write(folder / "verification.csv", core + more)

    slots = {}
    with (data / "extra/barista_intent/intents.csv").open(newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for path, _, slot in reader:
            slots[path] = json.loads(slot).get("coffeeDrink", "")
    orders = rows_of(data / "extra/barista_intent")
    draw = np.random.default_rng(0).random(len(orders))
    write(
        folder / "intent.csv",
        [
            row | {"drink": slots.get(Path(row["path"]).name, ""), "split": split_of(share)}
            for row, share in zip(orders, draw, strict=True)
        ],
    )
    read = [row for part in ("core/libri", "core/so762_adult", "extra/so762_adult2") for row in rows_of(data / part)]
    write(folder / "asr.csv", [row for row in read if row.get("text")])


def rows_of(folder: Path) -> list[Row]:
    return [
        {name: clip.label(name) for name in clip.columns} | {"path": str(Path(clip.path).absolute())}
        for clip in Speech([folder]).clips
    ]


def split_of(share: float) -> str:
    return "test" if share < 0.2 else "valid" if share < 0.3 else "train"


def write(path: Path, rows: list[Row]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} clips")


# The runs


def variants_of(layers: Sequence[int]) -> dict[str, dict[str, Any]]:
    """By name: what changes in the config."""
    changes: dict[str, dict[str, Any]] = {
        "all": {},
        "random-tables": {"network": {"tables_from_centroids": False}},
        "uniform": {"network": {"front": {"fusion": "uniform", "attention_dim": None}}},
        "concatenate": {"network": {"front": {"fusion": "concatenate", "attention_dim": None}}},
        "features": {"data": {"features": True}, "network": {"tables_from_centroids": False}},
    }
    changes |= {f"only-{layer}": {"data": {"layers": [layer]}} for layer in layers}
    return changes | {f"without-{layer}": {"data": {"layers": [k for k in layers if k != layer]}} for layer in layers}


def merge(entries: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Entries of a config with changes to some, section by section."""
    merged = dict(entries)
    for name, value in changes.items():
        merged[name] = merge(merged.get(name, {}), value) if isinstance(value, dict) else value
    return merged


def compare_variants(options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.from_pretrained(options.checkpoint)
    variants = variants_of(tokenizer.layers)
    chosen = {name: variants[name] for name in options.variants or variants}
    settings = yaml.safe_load(SETTINGS.read_text())
    if options.steps:
        save_every = min(settings["common"]["schedule"]["save_every"], options.steps)
        chosen = {
            name: merge(changes, {"schedule": {"steps": options.steps, "save_every": save_every}})
            for name, changes in chosen.items()
        }
    for seed in options.seeds:
        train_variants(options.task, chosen, seed, tokenizer, options.checkpoint, options.output)


def train_variants(
    task: str,
    variants: dict[str, dict[str, Any]],
    seed: int,
    tokenizer: Tokenizer,
    checkpoint: str,
    output: Path,
    *,
    fold_of_seed: bool = False,
) -> None:
    """Trains what is not there yet: variants, by name what changes in the config, on each fold of a task.

    With `fold_of_seed` on one fold alone, another for each seed.
    """
    settings = yaml.safe_load(SETTINGS.read_text())
    own = settings["tasks"][task]
    folds = sorted((output / "manifests").glob(f"{task}*.csv"))
    if not folds:
        raise SystemExit("there are no manifests: run the command `manifests` first")
    chosen = [seed % len(folds)] if fold_of_seed else range(len(folds))
    for (variant, changes), fold in product(variants.items(), chosen):
        name = f"{variant}-seed-{seed}" + (f"-fold-{fold}" if len(folds) > 1 else "")
        folder = output / task / name
        where = {"folder": str(folder), "data": {"sources": [str(folds[fold])]}, "tokenizer": checkpoint, "seed": seed}
        entries = settings["common"]
        for part in ({key: value for key, value in own.items() if key != "step"}, where, changes):
            entries = merge(entries, part)
        run(own["step"], entries, folder, tokenizer)
        print(task, name, json.loads((folder / "test.json").read_text()), flush=True)


def run(step: str, entries: dict[str, Any], folder: Path, tokenizer: Tokenizer) -> None:
    """A run, unless it is there with the same config."""
    settings = folder / "config.json"
    if settings.exists() and json.loads(settings.read_text()) != entries:
        shutil.rmtree(folder)
    if (folder / "test.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(entries))
    objective = objective_of(step)
    train_task(objective, read_config(entries, objective.Config, str(SETTINGS)), tokenizer)
    # What only a resumed run needs is large.
    shutil.rmtree(folder / "states", ignore_errors=True)


# The report


@dataclasses.dataclass
class Result:
    """Errors and weights [runs, layers] of one variant over seeds and folds."""

    errors: list[float] = dataclasses.field(default_factory=list)
    weights: list[list[float]] = dataclasses.field(default_factory=list)


def read_results(folder: Path) -> dict[str, Result]:
    results: dict[str, Result] = defaultdict(Result)
    for path in sorted(folder.glob("*/test.json")):
        tested = json.loads(path.read_text())
        result = results[path.parent.name.partition("-seed-")[0]]
        names = ("cer", "eer", "error") if folder.name != "emotion" else ("balanced_error",)
        result.errors.append(next(tested[name] for name in names if name in tested))
        result.weights.append(tested["weights"])
    return results


def report(output: Path) -> None:
    """A table a task, the heat map, and how far three measures of a layer's worth agree."""
    tasks = {path.name: read_results(path) for path in sorted(output.iterdir()) if any(path.glob("*/test.json"))}
    if not tasks:
        raise SystemExit(f"there are no results in {output}")
    lines = []
    for task, results in tasks.items():
        lines += [f"\n**{task}**: error, mean and deviation over runs, then over clips with its interval, %\n"]
        lines += [f"| layers | test, runs | runs | {' | '.join(f'{title} clips' for title in SPLITS.values())} |"]
        lines += ["|---" + "|---:" * (2 + len(SPLITS)) + "|"]
        of_clips = [read_runs(output / task, split) for split in SPLITS]
        for name, result in results.items():
            cells = [cell(runs.get("all", {}), runs[name]) if name in runs else "–" for runs in of_clips]
            lines.append(f"| {name} | {_percent(result.errors)} | {len(result.errors)} | {' | '.join(cells)} |")
        lines.append("\nBetter or worse than all layers by a test on the same clips, where it says so.")
        lines.append("\n" + agreement(task, results))
    (output / "report.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    draw_heat_map({task: results["all"] for task, results in tasks.items() if "all" in results}, tasks, output)


def _percent(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def layers_in(results: dict[str, Result]) -> list[int]:
    return sorted(int(name.removeprefix("only-")) for name in results if name.startswith("only-"))


def agreement(task: str, results: dict[str, Result]) -> str:
    """Rank correlations between the weight of a layer, its score alone, and what is lost without it."""
    from scipy.stats import spearmanr

    layers = layers_in(results)
    if "all" not in results or not all(f"without-{layer}" in results for layer in layers) or len(layers) < 3:
        return f"{task}: not all variants are there for an agreement of weights and scores"
    weight = np.mean(results["all"].weights, axis=0)
    alone = [-np.mean(results[f"only-{layer}"].errors) for layer in layers]
    lost = [np.mean(results[f"without-{layer}"].errors) - np.mean(results["all"].errors) for layer in layers]
    pairs = {"weight and score alone": (weight, alone), "weight and loss on leaving out": (weight, lost)}
    pairs["score alone and loss on leaving out"] = (alone, lost)
    correlations = [f"{name} {spearmanr(first, second).statistic:.2f}" for name, (first, second) in pairs.items()]
    return "Spearman's rank correlation over layers: " + "; ".join(correlations)


def draw_heat_map(chosen: dict[str, Result], tasks: dict[str, dict[str, Result]], output: Path) -> None:
    """Tasks x layers of the mean attention weight, with its deviation; beside it the error of each layer alone."""
    from matplotlib.figure import Figure

    layers = layers_in(next(iter(tasks.values())))
    weights = np.array([np.mean(result.weights, axis=0) for result in chosen.values()])
    spread = np.array([np.std(result.weights, axis=0) for result in chosen.values()])
    alone = np.array(
        [
            [np.mean(tasks[task][f"only-{k}"].errors) if f"only-{k}" in tasks[task] else np.nan for k in layers]
            for task in chosen
        ]
    )
    figure = Figure(figsize=(9, 1.2 + 0.55 * len(chosen)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    panels = (
        (
            axes[0],
            weights,
            "weight of the layer, ± over runs",
            "Blues",
            lambda r, c: f"{weights[r, c]:.2f} ± {spread[r, c]:.2f}",
        ),
        (axes[1], alone, "error with the layer alone, %", "Oranges_r", lambda r, c: f"{100 * alone[r, c]:.0f}"),
    )
    for axis, values, title, colours, text in panels:
        shown = values if axis is axes[0] else values / np.nanmax(values, axis=1, keepdims=True)
        axis.imshow(shown, cmap=colours, aspect="auto", vmin=0, vmax=1)
        axis.set_xticks(range(len(layers)), [f"layer {layer}" for layer in layers])
        axis.set_yticks(range(len(chosen)), list(chosen))
        axis.set_title(title, fontsize=10)
        for row in range(len(chosen)):
            for column in range(len(layers)):
                axis.text(column, row, text(row, column), ha="center", va="center", fontsize=8)
    figure.savefig(output / "layers.png", dpi=150)
    print(f"written: {output / 'report.md'}, {output / 'layers.png'}")


def draw_weights(options: argparse.Namespace) -> None:
    """The weights of each model over time, above the spectrogram of a clip and its words."""
    from matplotlib.figure import Figure

    waveform = load_audio(options.audio)
    models = [DownstreamModel.from_pretrained(path) for path in options.models]
    recognizer = SpeechRecognizer.from_pretrained(options.recognizer)
    text = options.text or recognizer.transcribe(waveform)[0]
    figure = Figure(figsize=(10, 1.3 * len(models) + 2), layout="constrained")
    axes = figure.subplots(len(models) + 1, 1, sharex=True, height_ratios=[1] * len(models) + [1.4])
    for axis, model, path in zip(axes, models, options.models, strict=False):
        weights = model.layer_weights(waveform)[0].numpy()
        times = (np.arange(weights.shape[1]) + 0.5) / model.frame_rate
        axis.stackplot(times, weights, labels=[f"layer {layer}" for layer in model.layers])
        axis.set_ylim(0, 1)
        axis.set_ylabel(path.parent.name if path.name in ("best", "model") else path.name, fontsize=9)
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(models[0].layers), fontsize=8, frameon=False)
    axes[-1].specgram(waveform.numpy() + 1e-6, NFFT=400, Fs=16000, noverlap=240, cmap="magma")
    axes[-1].set_ylabel("Hz")
    axes[-1].set_xlabel("s")
    for word, time in word_times(recognizer, waveform, text):
        for axis in axes:
            axis.axvline(time, color="black" if axis is not axes[-1] else "white", linewidth=0.5)
        axes[-1].text(time, 7400, f" {word}", color="white", fontsize=8, va="top")
    options.output.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output / "weights.png", dpi=150)
    print(f"written: {options.output / 'weights.png'}")


def word_times(recognizer: SpeechRecognizer, waveform: Any, text: str) -> Iterator[tuple[str, float]]:
    """The words of a text, and about when each begins, in seconds."""
    codec = recognizer.codec
    firsts = align(recognizer.log_probabilities(waveform)[0], codec.encode(text))
    spoken, position = codec.normalize(text), 0
    for word in spoken.split():
        step = int(firsts[spoken.index(word, position)])
        position = spoken.index(word, position) + len(word)
        yield word, max(0, step * recognizer.head_config.frames_per_step - 2) / recognizer.frame_rate


if __name__ == "__main__":
    main()
