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
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from clip_errors import SPLITS, cell, rate, read_runs
from downstream import make_manifests, train_variants

from semtok import Tokenizer

SETTINGS = Path(__file__).with_suffix(".yaml")


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
        runs = {task: read_runs(output / task, split) for task in tasks}
        runs = {task: of for task, of in runs.items() if of.keys() >= set(variants)}
        if not runs:
            raise SystemExit(f"no task has a run of every fusion in {output} yet: run again")
        lines += [f"\nErrors of {title} clips, %\n", "| fusion | " + " | ".join(runs) + " | ratio |"]
        lines += ["|---" + "|---:" * (len(runs) + 1) + "|"]
        for variant in variants:
            cells = [cell(of[variants[0]], of[variant]) for of in runs.values()]
            ratios = [rate(of[variant]) / rate(of[variants[0]]) for of in runs.values()]
            lines.append(f"| {variant} | {' | '.join(cells)} | {np.exp(np.mean(np.log(ratios))):.2f} |")
    counts = (f"{task} {'/'.join(str(len(of[variant])) for variant in variants)}" for task, of in runs.items())
    lines.append(f"\nRuns of each fusion: {', '.join(counts)}.")
    lines.append(f"ratio: of the errors to those of {variants[0]}, geometric mean over tasks.")
    (output / "fusion.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
