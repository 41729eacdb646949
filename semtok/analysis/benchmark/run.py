"""A benchmark: several tokenizers on the same speech, measure by measure, and why a measure is missing."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from semtok.analysis.benchmark.codes import (
    UED,
    Figure,
    bitrates,
    decoding_speed,
    edit_distances,
    encode_clips,
    phone_errors,
    phone_information,
)
from semtok.analysis.benchmark.results import Benchmark, Entry, Measure
from semtok.analysis.benchmark.subjects import Subject
from semtok.analysis.clips import Tiers, read_excerpts, read_tiers
from semtok.analysis.frames import CodedFrames
from semtok.analysis.stability import CONDITIONS
from semtok.audio.disturbances import Waveform
from semtok.errors import SemtokError
from semtok.evaluation import METRICS, Judges, Resynthesis, evaluate_resynthesis
from semtok.evaluation.metrics import Metric, check_extra
from semtok.evaluation.resynthesis import Row
from semtok.evaluation.utmos import UTMOS_WEIGHTS
from semtok.speech.reading import Speech
from semtok.support.intervals import Interval

RATE, SPEECH, PHONES, STABILITY, SPEED = (
    "What it costs",
    "What comes back",
    "What the tokens say of phones",
    "How the tokens keep",
    "How fast it is",
)


def _of_metric(metric: Metric) -> Measure:
    return Measure(metric.name, metric.title, SPEECH, metric.better, metric.decimals, metric.unit)


MEASURES = (
    Measure("bitrate", "bitrate, plain", RATE, "lower", 2, "kbit/s"),
    Measure("entropy_bitrate", "bitrate, entropy coded", RATE, "lower", 2, "kbit/s"),
    *map(_of_metric, METRICS),
    Measure("pnmi", "PNMI of the best row", PHONES, "higher"),
    Measure("abx_within", "ABX within speakers, best layer", PHONES, "lower", 1, "%"),
    Measure("abx_across", "ABX across speakers, best layer", PHONES, "lower", 1, "%"),
    Measure(UED, f"{UED}, mean", STABILITY, "lower", 1, "%"),
    *(Measure(f"{UED}: {name}", name, STABILITY, "lower", 1, "%") for name in CONDITIONS),
    Measure("encoding_speed", "encoding, x real time", SPEED, "higher", 1),
    Measure("decoding_speed", "decoding, x real time", SPEED, "higher", 1),
)
"""Every row of the page, in order."""


def run_benchmark(
    subjects: Sequence[Subject],
    audio: str | os.PathLike[str],
    *,
    alignments: str | os.PathLike[str] | None = None,
    judges: Judges | None = None,
    workers: int | None = None,
) -> Benchmark:
    """Measures tokenizers on the same speech.

    Args:
        subjects: of `open_subjects`.
        audio: name of a source of speech, as of `evaluate_resynthesis`.
        alignments: file of phones of the clips, as of a study.
        judges: of `load_judges`; none by default.
        workers: processes that measure; one a core by default.

    Raises:
        AudioError: no audio, or no clip of it can be encoded.
        SemtokError: alignments that cannot be read or are of no clip; the extra `eval` is not installed.
    """
    check_extra()
    judges = judges or Judges()
    speech = Speech([os.fspath(audio)])
    tiers = read_tiers(speech, audio, alignments)
    entries, recordings, seconds = [], dict[str, Figure](), 0.0
    notes = list(judges.missing)
    for subject in subjects:
        entry = Entry(subject.name, subject.title, subject.facts)
        frames, entry.figures["encoding_speed"] = encode_clips(subject, speech)
        seconds = float(frames.lengths.sum()) / frames.frame_rate
        notes += [f"Not encoded by {subject.title}: {reason}" for reason in frames.left_out]
        entry.figures.update(bitrates(frames))
        _measure_codes(entry, subject, frames, speech, tiers)
        result = _resynthesise(entry, subject, audio, judges, workers)
        if result is not None:
            recordings = recordings or _of_row(result.rows[0], absolute=True)
            notes += result.notes
        entries.append(entry)
    if len(speech) < 2:
        notes.append("One clip alone: there are no intervals, and figures of other speech will differ.")
    together = tuple(dict.fromkeys(notes))
    return Benchmark(MEASURES, tuple(entries), recordings, len(speech), seconds, judges.names, together)


def _measure_codes(entry: Entry, subject: Subject, frames: CodedFrames, speech: Speech, tiers: Tiers) -> None:
    excerpts: list[Waveform] = read_excerpts(speech, frames.clips, subject.tokenizer.sample_rate)

    def attempt(measure: Callable[[], Mapping[str, Figure]], names: Sequence[str]) -> None:
        try:
            entry.figures.update(measure())
        except SemtokError as error:
            reason = str(error)
        else:
            reason = "it is not defined on these clips"
        entry.missing.update({name: reason for name in names if name not in entry.figures})

    def phones() -> dict[str, Figure]:
        of_rows = phone_information(frames, tiers, len(speech))
        entry.details["PNMI by row"] = of_rows
        return {"pnmi": max(of_rows.values(), key=lambda figure: figure.value)}

    def abx() -> dict[str, Figure]:
        best = {}
        for where, of_layers in phone_errors(subject, frames, speech, tiers).items():
            entry.details[f"ABX {where} speakers by layer"] = {figure.of: figure for figure in of_layers.values()}
            best[f"abx_{where}"] = min(of_layers.values(), key=lambda figure: figure.value)
        return best

    attempt(phones, ["pnmi"])
    attempt(abx, ["abx_within", "abx_across"])
    conditions = [UED, *(f"{UED}: {name}" for name in CONDITIONS)]
    attempt(lambda: edit_distances(subject, excerpts), conditions)
    for name in conditions:
        if "babble" in name and name in entry.missing and len(excerpts) == 1:
            entry.missing[name] = "babble is made of other clips, and there is one clip alone"
    attempt(lambda: {"decoding_speed": decoding_speed(subject, excerpts)}, ["decoding_speed"])


def _resynthesise(
    entry: Entry, subject: Subject, audio: str | os.PathLike[str], judges: Judges, workers: int | None
) -> Resynthesis | None:
    if subject.vocoder is None:
        entry.missing.update({metric.name: subject.no_vocoder for metric in METRICS})
        return None
    layers = subject.tokenizer.codebooks.layers
    result = evaluate_resynthesis(
        subject.tokenizer, subject.vocoder, audio, subsets=[layers], judges=judges, workers=workers
    )
    entry.figures.update(_of_row(result.rows[1]))
    reasons = dict(_reasons(judges))
    for metric in METRICS:
        if metric.name not in entry.figures or math.isnan(entry.figures[metric.name].value):
            entry.figures.pop(metric.name, None)
            known = [reason for need, reason in reasons.items() if need in metric.needs]
            entry.missing[metric.name] = known[0] if known else "it is defined on none of these clips"
    return result


def _reasons(judges: Judges) -> Iterator[tuple[str, str]]:
    """By what a metric needs, why it is not there."""
    if judges.recognizer is None:
        yield from dict.fromkeys(("words", "reference_words"), "there is no recognizer").items()
    yield "text", "the clips have no text, or in another language than the recognizer's"
    if judges.utmos is None:
        yield "rating", f"give {UTMOS_WEIGHTS} of github.com/tarepan/SpeechMOS (MIT) by --utmos"
    if judges.speaker_model is None:
        yield "voice", "there is no speaker model"


def _of_row(row: Row, *, absolute: bool = False) -> dict[str, Figure]:
    """The figures of a row of a resynthesis; those that need no reference, if `absolute`."""
    nothing = Interval(np.nan, np.nan)
    return {
        metric.name: Figure(row.scores[metric.name], row.intervals.get(metric.name, nothing), row.clips[metric.name])
        for metric in METRICS
        if metric.name in row.scores and (metric.absolute or not absolute)
    }
