"""What is measured of the codes of one tokenizer, whatever made them: each figure with its interval over clips.

Figures are sums over clips by sums over clips, so that drawing clips again tells how sure they are. The measures are
those of a study: `semtok.analysis.codes`, `information`, `abx` and `stability`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semtok.analysis.abx import angle, draw_triplets, find_examples, mean_error, triplet_errors
from semtok.analysis.benchmark.subjects import Subject
from semtok.analysis.clips import PHONES, Tiers
from semtok.analysis.contingency import contingency
from semtok.analysis.frames import CodedFrames
from semtok.analysis.labels import aligned_labels
from semtok.analysis.stability import count_edits
from semtok.audio.disturbances import Waveform
from semtok.codebooks.layers import Layer
from semtok.errors import AudioError, SemtokError
from semtok.speech.reading import Speech
from semtok.support.arrays import Integers
from semtok.support.intervals import Interval, bootstrap_interval, bootstrap_of
from semtok.support.progress import track

UED = "unit edit distance"


@dataclass(frozen=True)
class Figure:
    """A number, where it lies with a confidence of 95 %, and how many clips it is of; `of` says of which row or layer.

    Rates are shares: .5 is 50 %.
    """

    value: float
    interval: Interval
    clips: int
    of: str = ""


def encode_clips(subject: Subject, speech: Speech) -> tuple[CodedFrames, Figure]:
    """The codes of all clips, encoded one by one, and how many times faster than they last.

    Raises:
        AudioError: no clip can be encoded.
    """
    tokenizer = subject.tokenizer
    codes: list[npt.NDArray[np.int64]] = []
    numbers: list[int] = []
    seconds: list[float] = []
    elapsed: list[float] = []
    left_out = []
    clips = track(speech.read(tokenizer.sample_rate), f"encoding by {subject.title}", len(speech))
    for number, (clip, waveform) in enumerate(clips):
        try:
            if isinstance(waveform, AudioError):
                raise waveform
            if not codes:
                tokenizer.encode(waveform)  # what is done once is not timed
            start = time.perf_counter()
            codes.append(tokenizer.encode(waveform)[0].codes[0].cpu().numpy())
            elapsed.append(time.perf_counter() - start)
        except AudioError as error:
            left_out.append(f"{clip.id}: {error}")
            continue
        numbers.append(number)
        seconds.append(len(waveform) / tokenizer.sample_rate)
    if not codes:
        raise AudioError(f"none of the clips can be encoded: {'; '.join(left_out[:3])}")
    lengths = [of_clip.shape[1] for of_clip in codes]
    frames = CodedFrames(
        tokenizer.codebooks,
        tokenizer.frame_rate,
        np.concatenate(codes, axis=1).astype(np.int64),
        np.array(lengths),
        np.array(numbers),
        np.concatenate([subject.times(length) for length in lengths]),
        tuple(left_out),
    )
    return frames, _ratio(seconds, elapsed)


def decoding_speed(subject: Subject, waveforms: Sequence[Waveform]) -> Figure:
    """How many times faster than they last the tokens of waveforms are decoded, one by one.

    Raises:
        SemtokError: there is no vocoder, or there are no waveforms.
    """
    if subject.vocoder is None:
        raise SemtokError(subject.no_vocoder)
    if not waveforms:
        raise SemtokError("no clip is longer than half a second")
    tokens = [subject.tokenizer.encode(waveform) for waveform in waveforms]
    subject.vocoder.decode(tokens[0])
    elapsed = []
    for of_clip in tokens:
        start = time.perf_counter()
        subject.vocoder.decode(of_clip).cpu()
        elapsed.append(time.perf_counter() - start)
    return _ratio([len(waveform) / subject.tokenizer.sample_rate for waveform in waveforms], elapsed)


def bitrates(frames: CodedFrames) -> dict[str, Figure]:
    """Bit/s of plain codes, which no clip changes, and after ideal entropy coding of each row by its frequencies."""
    plain = frames.frame_rate * frames.codebooks.bits
    exact = Figure(plain, Interval(plain, plain), len(frames.lengths))
    bits = np.zeros(frames.codes.shape[1])
    for row in frames.codes:
        bits -= np.log2(np.bincount(row)[row] / len(row))
    return {"bitrate": exact, "entropy_bitrate": _ratio(_by_clip(frames, bits), frames.lengths / frames.frame_rate)}


def phone_information(frames: CodedFrames, tiers: Tiers, clips: int) -> dict[str, Figure]:
    """PNMI of each row, by its name.

    The interval draws clips again for the information of each frame, log p(phone, code) / p(phone) p(code), whose mean
    PNMI is by that of -log p(phone). Counting the codes of drawn clips anew would raise it, as fewer frames do.

    Raises:
        SemtokError: no clip has phones.
    """
    labels = aligned_labels(frames, tiers, PHONES, clips)
    figures = {}
    for name, codes in zip(frames.codebooks.names, frames.codes[:, labels.frames], strict=True):
        counts = contingency(labels.labels, codes, len(labels.names), int(codes.max()) + 1)
        of_label, of_code = counts.sum(axis=1)[labels.labels], counts.sum(axis=0)[codes]
        total = len(codes)
        gains = np.log2(counts[labels.labels, codes] * total / (of_label * of_code))
        values, entropies = np.zeros(frames.codes.shape[1]), np.zeros(frames.codes.shape[1])
        values[labels.frames], entropies[labels.frames] = gains, np.log2(total / of_label)
        aligned = np.isin(frames.clips, frames.clip_of[labels.frames])
        figures[name] = _ratio(_by_clip(frames, values)[aligned], _by_clip(frames, entropies)[aligned], f"row {name}")
    return figures


def phone_errors(subject: Subject, frames: CodedFrames, speech: Speech, tiers: Tiers) -> dict[str, dict[Layer, Figure]]:
    """ABX errors of phones on the tokens of each layer, "within" and "across" speakers.

    A triplet counts as often as its three clips are drawn, multiplied.

    Raises:
        SemtokError: no clip has phones.
    """
    if PHONES not in tiers:
        raise SemtokError("no clip has phones: give them by --alignments, or as a column of the manifest")
    examples = find_examples(frames, speech.clips, tiers[PHONES])
    place_of = {clip: place for place, clip in enumerate(frames.clips.tolist())}
    clip_of = np.array([place_of[frames.clip_of[example.start]] for example in examples], np.int64)
    figures: dict[str, dict[Layer, Figure]] = {}
    for across, where in ((False, "within"), (True, "across")):
        triplets = draw_triplets(examples, across=across)
        if len(triplets.examples) == 0:
            continue
        clips = clip_of[triplets.examples]
        figures[where] = {}
        for layer, rows in frames.codebooks.rows.items():
            points = [
                subject.embed(layer, frames.codes[rows, example.start : example.stop])
                for example in track(examples, f"ABX, layer {layer}", len(examples))
            ]
            errors = triplet_errors(triplets, points, angle)

            def error(drawn: Integers, errors: npt.NDArray[np.float64] = errors, clips: Integers = clips) -> float:
                counts = np.bincount(drawn, minlength=len(frames.lengths))
                return mean_error(triplets, errors, counts[clips].prod(axis=1))  # noqa: B023

            interval = bootstrap_of(error, len(frames.lengths), draws=500)
            figures[where][layer] = Figure(
                mean_error(triplets, errors), interval, len(np.unique(clips)), f"layer {layer}"
            )
    return figures


def edit_distances(subject: Subject, waveforms: Sequence[Waveform]) -> dict[str, Figure]:
    """Unit edit distance under each condition, and their mean, over all rows together: edits by units.

    Raises:
        SemtokError: there are no waveforms.
    """
    if not waveforms:
        raise SemtokError("no clip is longer than half a second")
    described = f"disturbing for {subject.title}"
    counted = count_edits(subject.tokenizer, list(track(waveforms, described, len(waveforms))))
    units = counted.units.sum(axis=1)
    edits = {name: of_rows.sum(axis=1) for name, of_rows in counted.edits.items()}
    mean = np.mean(list(edits.values()), axis=0)
    return {UED: _ratio(mean, units)} | {f"{UED}: {name}": _ratio(of_clips, units) for name, of_clips in edits.items()}


def _by_clip(frames: CodedFrames, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums of values [frames] over each clip, [clips]."""
    sums: npt.NDArray[np.float64] = np.add.reduceat(values, np.cumsum(frames.lengths) - frames.lengths)
    return sums


def _ratio(
    values: Sequence[float] | npt.NDArray[np.float64], counts: Sequence[float] | npt.NDArray[np.float64], of: str = ""
) -> Figure:
    total = float(np.sum(counts))
    value = float(np.sum(values)) / total if total else math.nan
    return Figure(value, bootstrap_interval(values, counts), len(values), of)
