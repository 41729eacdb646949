"""How often a language model of speech finds the right recording of a pair likelier than the wrong one."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from semtok.evaluation.published import read_published
from semtok.evaluation.report import provenance
from semtok.evaluation.suites import Pair
from semtok.language.model import SpeechLanguageModel
from semtok.support.atomic import atomic_write
from semtok.support.intervals import Interval, bootstrap_interval
from semtok.support.json import finite
from semtok.support.progress import track

_PUBLISHED = ("Language models of speech", "Acoustic consistency of language models")


class _Bits(NamedTuple):
    """What a recording takes: bits a token, and bits a second."""

    a_token: float
    a_second: float


@dataclass(frozen=True)
class Accuracy:
    """Over `items`: the share that a model gets right, chance is .5, and where it lies with 95 %.

    Args:
        by_token: by the mean likelihood of a token, as slamkit and SALMon have it.
        by_second: by the likelihood of a second, for recordings whose tokens are of unlike length.
    """

    items: int
    by_token: float
    token_interval: Interval
    by_second: float
    second_interval: Interval


def evaluate_language(model: SpeechLanguageModel, tasks: Mapping[str, Sequence[Pair]]) -> dict[str, Accuracy]:
    """The accuracy in each task, and in each group of its items as `task: group`.

    An item in several voices counts once, by the mean of its voices. A tie counts half.

    Args:
        model: on the device it is on.
        tasks: of `read_suite`.

    Raises:
        AudioError: a recording that cannot be read, or is too short to encode.
    """
    accuracies = {}
    for name, pairs in tasks.items():
        right: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for pair in track(pairs, name, len(pairs)):
            positive, negative = (_measure(model, path) for path in (pair.positive, pair.negative))
            right[pair.group, pair.item].append(
                (_wins(positive.a_token, negative.a_token), _wins(positive.a_second, negative.a_second))
            )
        means = {key: tuple(sum(of) / len(voices) for of in zip(*voices, strict=True)) for key, voices in right.items()}
        accuracies[name] = _accuracy(list(means.values()))
        groups = sorted({group for group, _ in means})
        if len(groups) > 1:
            for group in groups:
                of_group = [mean for (name_of, _), mean in means.items() if name_of == group]
                accuracies[f"{name}: {group or 'others'}"] = _accuracy(of_group)
    return accuracies


def write_language_report(
    accuracies: Mapping[str, Accuracy], folder: str | os.PathLike[str], *, model: str, fingerprint: str, command: str
) -> tuple[Path, Path]:
    """Writes `language.md` and `language.json` into a folder, made if it is not there; each appears whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    markdown, data = folder / "language.md", folder / "language.json"
    facts = provenance(model, fingerprint, command, ("torch", "transformers"))
    published = [row for row in read_published() if row.group in _PUBLISHED]
    numbers = facts | {
        "tasks": {name: asdict(accuracy) for name, accuracy in accuracies.items()},
        "published": [asdict(row) for row in published],
    }
    lines = [
        f"# {model}: which of two recordings is likelier",
        "",
        "| task | items | by token, % | interval | by second, % | interval |",
        "|---|---:|---:|---|---:|---|",
        *(_line(name, accuracy) for name, accuracy in accuracies.items()),
        "",
        "Chance is 50 %. Intervals are 95 %, by bootstrap over items.",
        "",
        "## Published figures of others, by token",
        "",
        "| system | task | figure | data | source |",
        "|---|---|---:|---|---|",
        *(f"| {row.system} | {row.measure} | {row.value} | {row.data} | {row.source} |" for row in published),
        "",
        f"{facts['date']}, {facts['machine']['cores']} cores of {facts['machine']['cpu']}: `{command}`",
    ]
    with atomic_write(markdown) as table, atomic_write(data) as out:
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
        out.write_text(json.dumps(finite(numbers), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return markdown, data


def _measure(model: SpeechLanguageModel, path: Path) -> _Bits:
    tokens = model.tokenizer.encode(path, layers=model.vocabulary.layers)
    (bits,) = model.bits(tokens)
    return _Bits(float(bits.mean()), float(bits.sum()) / float(tokens.durations[0]))


def _wins(positive: float, negative: float) -> float:
    return 1.0 if positive < negative else 0.5 if positive == negative else 0.0


def _accuracy(means: Sequence[tuple[float, ...]]) -> Accuracy:
    by_token, by_second = zip(*means, strict=True)
    return Accuracy(
        len(means),
        sum(by_token) / len(means),
        bootstrap_interval(by_token),
        sum(by_second) / len(means),
        bootstrap_interval(by_second),
    )


def _line(name: str, accuracy: Accuracy) -> str:
    cells = []
    for value, interval in (
        (accuracy.by_token, accuracy.token_interval),
        (accuracy.by_second, accuracy.second_interval),
    ):
        low, high = (100 * bound for bound in interval)
        cells += [f"{100 * value:.1f}", f"{low:.1f} – {high:.1f}" if low == low else "–"]
    return f"| {name} | {accuracy.items} | " + " | ".join(cells) + " |"
