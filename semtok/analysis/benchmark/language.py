"""Tokenizers by the language models of their tokens: which of two recordings these find likelier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from semtok.analysis.benchmark.codes import Figure
from semtok.analysis.benchmark.results import Benchmark, Entry, Measure
from semtok.analysis.benchmark.subjects import Subject
from semtok.errors import SemtokError
from semtok.evaluation.language import evaluate_language
from semtok.evaluation.suites import read_suite
from semtok.language.model import SpeechLanguageModel

LIKELIER = "What language models find likelier"


def run_suite(
    subjects: Sequence[Subject], suite: str | os.PathLike[str], models: Mapping[str, SpeechLanguageModel]
) -> Benchmark:
    """The accuracies of `evaluate_language`, for tokenizers of whose tokens one of the models is.

    Args:
        subjects: of `open_subjects`.
        suite: folder of pairs, as of `read_suite`.
        models: by name; a tokenizer takes the first of its fingerprint and of the layers measured.

    Raises:
        SemtokError: no model is of any of the tokenizers; a suite that is no suite, or lacks halves of pairs.
        AudioError: a recording that cannot be read, or is too short to encode.
    """
    tasks = read_suite(Path(suite))
    chosen = {subject.name: _find(subject, models) for subject in subjects}
    if not any(chosen.values()):
        wanted = "; ".join(f"{subject.title} of {subject.tokenizer.fingerprint}" for subject in subjects)
        got = "; ".join(f"{name}: {_described(model)}" for name, model in models.items())
        raise SemtokError(f"no language model is of these tokenizers and layers: expected {wanted}, got {got}")
    entries = tuple(Entry(subject.name, subject.title, subject.facts) for subject in subjects)
    for entry in entries:
        if name := chosen[entry.name]:
            for task, accuracy in evaluate_language(models[name], tasks).items():
                of = f"{accuracy.items} items, {name}"
                figures = {
                    "by token": Figure(accuracy.by_token, accuracy.token_interval, accuracy.items, of),
                    "by second": Figure(accuracy.by_second, accuracy.second_interval, accuracy.items, of),
                }
                entry.figures.update({f"{task}, {way}": figure for way, figure in figures.items()})
    rows = list(dict.fromkeys(name for entry in entries for name in entry.figures))
    reason = f"no language model given is of its tokens and layers: {', '.join(models)}"
    for entry in entries:
        entry.missing.update({name: reason for name in rows if name not in entry.figures})
    return Benchmark(tuple(Measure(name, name, LIKELIER, "higher", 1, "%") for name in rows), entries)


def _find(subject: Subject, models: Mapping[str, SpeechLanguageModel]) -> str | None:
    for name, model in models.items():
        same_layers = set(model.vocabulary.layers) == set(subject.tokenizer.codebooks.layers)
        if model.fingerprint == subject.tokenizer.fingerprint and same_layers:
            return name
    return None


def _described(model: SpeechLanguageModel) -> str:
    return f"layers {', '.join(map(str, model.vocabulary.layers))} of {model.fingerprint}"
