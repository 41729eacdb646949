"""Which fusion of the layers should models of tasks begin with? It is chosen by validation clips.

    python experiments/fusion.py --data data                  # trains what is not there yet, then the tables
    python experiments/fusion.py --checkpoint FOLDER --output runs/fusion-next

Fusions, tasks, steps and seeds are those of fusion.yaml, the heads those of downstream.yaml. A command that was stopped
goes on where it was, and says what it has. Of a task with folds each seed takes another one. A clip's error is its mean
over seeds, the interval of an error that over clips. A fusion is called better or worse than the first one where a test
on the same clips says so (p < .05).
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from downstream import make_manifests, train_variants

from semtok import Tokenizer
from semtok.support.intervals import bootstrap_interval, paired_bootstrap

SETTINGS = Path(__file__).with_suffix(".yaml")
SPLITS = {"valid": "validation", "test": "test"}
# By path of a clip: its errors, the mean over seeds, and what they are errors in.
ClipErrors = dict[str, tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/fusion"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--checkpoint")
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--steps", type=int, help="of every run, to try the command")
    parser.add_argument("--report", action="store_true", help="train nothing, say what is there")
    options = parser.parse_args()
    settings = yaml.safe_load(SETTINGS.read_text())
    tasks = options.tasks or list(settings["tasks"])
    if not options.report:
        if not (options.output / "manifests").exists():
            make_manifests(options.data, options.output / "manifests")
        train(settings, options, tasks)
    report(options.output, list(settings["variants"]), tasks)


def train(settings: dict[str, Any], options: argparse.Namespace, tasks: list[str]) -> None:
    """Seed by seed, so that a command that is stopped has compared all fusions on what it has."""
    checkpoint = options.checkpoint or settings["checkpoint"]
    tokenizer = Tokenizer.from_pretrained(checkpoint)
    for seed in options.seeds or settings["seeds"]:
        for task in tasks:
            schedule = settings["tasks"][task] | {"log_every": settings["tasks"][task]["save_every"]}
            if options.steps:
                schedule |= {"steps": options.steps, "save_every": options.steps}
            variants = {
                name: {"network": {"front": {"attention_dim": None} | front}, "schedule": schedule}
                for name, front in settings["variants"].items()
            }
            train_variants(task, variants, seed, tokenizer, checkpoint, options.output, fold_of_seed=True)


def report(output: Path, variants: list[str], tasks: list[str]) -> None:
    lines: list[str] = []
    for split, title in SPLITS.items():
        found = {task: read_errors(output / task, variants, split) for task in tasks}
        shown = {task: errors for task, errors in found.items() if variants[0] in errors}
        if not shown:
            raise SystemExit(f"no runs with {variants[0]} in {output}")
        lines += [f"\nErrors of {title} clips, %", "| fusion | " + " | ".join(shown) + " | ratio |"]
        lines += ["|---" * (len(shown) + 2) + "|"]
        for variant in variants:
            columns = [cell(errors, variants[0], variant) for errors in shown.values()]
            ratios = [
                rate(errors[variant]) / rate(errors[variants[0]]) for errors in shown.values() if variant in errors
            ]
            ratio = f"{np.exp(np.mean(np.log(ratios))):.2f}" if len(ratios) == len(shown) else "–"
            lines.append(f"| {variant} | " + " | ".join(columns) + f" | {ratio} |")
        runs = {task: len(list((output / task).glob(f"{variants[0]}-seed-*/test.json"))) for task in shown}
        lines.append(f"Runs a fusion: {', '.join(f'{task} {count}' for task, count in runs.items())}. ")
    lines.append(f"ratio: of the errors to those of {variants[0]}, geometric mean over tasks")
    (output / "fusion.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def read_errors(folder: Path, variants: list[str], split: str) -> dict[str, ClipErrors]:
    """Of each fusion that is there."""
    found = {}
    for variant in variants:
        errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for path in sorted(folder.glob(f"{variant}-seed-*/test_clips.csv")):
            with path.open(newline="") as file:
                _, _, *names = next(csv.reader(file))
                file.seek(0)
                for row in csv.DictReader(file):
                    if row["split"] == split:
                        errors[row["path"]].append((float(row[names[0]]), float(row[names[1]])))
        if errors:
            found[variant] = {path: tuple(np.mean(of, axis=0)) for path, of in errors.items()}
    return found


def rate(errors: ClipErrors) -> float:
    wrong, count = np.sum(list(errors.values()), axis=0)
    return float(wrong / count)


def cell(errors: dict[str, ClipErrors], first: str, variant: str) -> str:
    """The rate, its interval, and whether it is better than that of the first."""
    if variant not in errors or errors[variant].keys() != errors[first].keys():
        return "–"
    wrong, count = np.array([errors[variant][path] for path in errors[first]]).T
    low, high = bootstrap_interval(wrong, count)
    compared = paired_bootstrap([errors[first][path][0] for path in errors[first]], wrong, count)
    verdict = "" if not compared.significant else " better" if compared.difference < 0 else " worse"
    return f"{100 * wrong.sum() / count.sum():.1f} ({100 * low:.0f} to {100 * high:.0f}){verdict}"


if __name__ == "__main__":
    main()
