"""Speech to tokens and back, from several subsets of the layers, each measured against the original."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from semtok.codebooks.layers import Layer, check_layers, in_order
from semtok.errors import AudioError
from semtok.evaluation import metrics
from semtok.evaluation.judges import Judges
from semtok.evaluation.metrics import METRICS, SAMPLE_RATE, Waveform, WordErrors
from semtok.evaluation.pitch import track_pitch
from semtok.evaluation.tokenizers import SpeechDecoder, SpeechTokenizer
from semtok.speech.clip import Clip
from semtok.speech.reading import Speech
from semtok.support.intervals import Interval
from semtok.support.progress import track

Subset: TypeAlias = tuple[Layer, ...]
Scores: TypeAlias = dict[str, float | WordErrors]

_ORIGINAL: Subset = ()


@dataclass(frozen=True)
class Row:
    """What was measured of one subset of the layers, over all clips.

    Args:
        layers: that were decoded; empty for the original itself.
        bitrate: bit/s of their tokens before any entropy coding; None for the original.
        scores: by name of each metric, the mean over clips; of word error rates, all errors over all words (0.5 is
            50 %). NaN where no clip gave a value.
        intervals: of each metric, where its score lies with a confidence of 95 %, by bootstrap over clips.
        clips: of each metric, the clips it is defined on.
        delay: median over clips of the milliseconds by which the output lags behind the original.
    """

    layers: Subset
    bitrate: float | None
    scores: dict[str, float]
    intervals: dict[str, Interval]
    clips: dict[str, int]
    delay: float


@dataclass(frozen=True)
class Resynthesis:
    """Result of `evaluate_resynthesis`: the original first, then a row a subset, over `seconds` of audio in `clips`.

    `judges` are their names by role, `notes` say what was left out and why.
    """

    fingerprint: str
    clips: int
    seconds: float
    rows: tuple[Row, ...]
    judges: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Measured:
    """One clip: `other_language` if it is spoken in another one than the recognizer's."""

    seconds: float
    scores: dict[Subset, Scores]
    delays: dict[Subset, float]
    other_language: str | None


def default_subsets(layers: Sequence[Layer]) -> list[Subset]:
    """Every single layer; the lowest with the middle and with the deepest one; the lowest three; all layers.

    The lowest layer keeps most of the acoustics and the deeper ones the content, so the pairs join one of each.
    """
    layers = in_order(layers)
    lowest, middle, deepest = layers[0], layers[len(layers) // 2], layers[-1]
    subsets = [(layer,) for layer in layers] + [(lowest, middle), (lowest, deepest), layers[:3], layers]
    return [subset for subset in dict.fromkeys(subsets) if len(set(subset)) == len(subset)]


def evaluate_resynthesis(
    tokenizer: SpeechTokenizer,
    vocoder: SpeechDecoder,
    audio: str | os.PathLike[str],
    *,
    subsets: Sequence[Sequence[Layer]] | None = None,
    judges: Judges | None = None,
    speaker: bool = False,
    workers: int | None = None,
) -> Resynthesis:
    """Encode every clip of a folder, decode it from each subset of the layers, and measure what comes out.

    The original is measured too, as the first row. A vocoder's output ends up to a frame before its original: they are
    compared over their common length, and never shifted (`delay` says whether one lags).

    Args:
        tokenizer, vocoder: of one checkpoint; used on the device they are on.
        audio: name of a source of speech, for `semtok.speech.sources.open_source`; its column `text` is what is said.
        subsets: of the vocoder's layers; `default_subsets` by default.
        judges: of `load_judges`; none by default, which leaves out the metrics that need one.
        speaker: whether the vocoder is also told the voice of each clip, as its speaker encoder hears it in that clip.
        workers: processes that measure; one a core by default. They start afresh, so a script that calls this needs
            the usual `if __name__ == "__main__":`.

    Raises:
        SemtokError: the extra `eval` is not installed.
        LayerError: a subset with layers that the vocoder lacks.
        AudioError: no audio; a clip that cannot be read or is too short to encode.
        SpeakerError: `speaker`, and the vocoder has no speaker encoder.
    """
    metrics.check_extra()
    checked = [check_layers(subset, vocoder.layers, owner="the vocoder") for subset in subsets or ()]
    checked = checked or default_subsets(vocoder.layers)
    judges = judges or Judges()
    speech = Speech([os.fspath(audio)])
    clips = speech.clips
    outputs = _resynthesise(tokenizer, vocoder, speech, checked, speaker)
    measuring = _measure_clips(judges, clips, outputs, workers or os.cpu_count() or 1)
    measured = list(track(measuring, "measuring", len(clips)))
    rows = [_row(_ORIGINAL, None, measured)]
    for subset in checked:
        bitrate = tokenizer.frame_rate * tokenizer.codebooks.select(subset, owner="the tokenizer").bits
        rows.append(_row(subset, bitrate, measured))
    return Resynthesis(
        tokenizer.fingerprint,
        len(clips),
        sum(clip.seconds for clip in measured),
        tuple(rows),
        judges.names,
        (*judges.missing, *_notes_on_language(judges, clips, measured)),
    )


def _measure_clips(
    judges: Judges, clips: Sequence[Clip], outputs_of_clips: Iterable[dict[Subset, Waveform]], workers: int
) -> Iterator[_Measured]:
    """Every clip, in order. Networks run here while other processes measure, if there are to be several."""
    judged = _judge_clips(judges, clips, outputs_of_clips)
    if min(workers, len(clips)) == 1:
        yield from (_measure(*of_clip) for of_clip in judged)
        return
    # spawn, as forking a process with torch's threads can hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: deque[Future[_Measured]] = deque()
        for of_clip in judged:
            pending.append(pool.submit(_measure, *of_clip))
            # bounds the audio that waits in memory
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        yield from (future.result() for future in pending)


def _judge_clips(
    judges: Judges, clips: Sequence[Clip], outputs_of_clips: Iterable[dict[Subset, Waveform]]
) -> Iterator[tuple[dict[Subset, Waveform], dict[Subset, dict[str, Any]], str | None]]:
    """The outputs of each clip, what the judges make of them, and the language if it is another one."""
    for clip, outputs in zip(clips, outputs_of_clips, strict=True):
        other_language = judges.recognizer.other_language(outputs[_ORIGINAL]) if judges.recognizer else None
        text = "" if other_language else clip.label("text")
        yield outputs, _judge(judges, text, outputs, hear=other_language is None), other_language


def _resynthesise(
    tokenizer: SpeechTokenizer, vocoder: SpeechDecoder, speech: Speech, subsets: Sequence[Subset], speaker: bool
) -> Iterator[dict[Subset, Waveform]]:
    """What each subset of the layers of each clip sounds like, and the original itself, all at 16 kHz."""
    import soxr

    needed = tuple(layer for layer in vocoder.layers if any(layer in subset for subset in subsets))
    for _, waveform in speech.read(SAMPLE_RATE):
        if isinstance(waveform, AudioError):
            raise waveform
        original = waveform.numpy()
        tokens = tokenizer.encode(original, sample_rate=SAMPLE_RATE, layers=needed)
        voice = vocoder.speaker(original, sample_rate=SAMPLE_RATE) if speaker else None
        outputs = {_ORIGINAL: original}
        for subset in subsets:
            output = vocoder.decode(tokens, layers=subset, speaker=voice)[0].cpu().numpy()
            outputs[subset] = soxr.resample(output, vocoder.sample_rate, SAMPLE_RATE)
        yield outputs


def _judge(
    judges: Judges, text: str, outputs: Mapping[Subset, Waveform], *, hear: bool
) -> dict[Subset, dict[str, Any]]:
    """What the judges make of each output, by the names of `Metric.needs`."""
    judged: dict[Subset, dict[str, Any]] = {subset: {} for subset in outputs}
    if judges.recognizer is not None and hear:
        words = [judges.recognizer.words(text) for text in judges.recognizer.transcribe(list(outputs.values()))]
        expected = judges.recognizer.words(text)
        for subset, spoken in zip(outputs, words, strict=True):
            judged[subset] |= {"words": spoken, "reference_words": words[0]} | ({"text": expected} if expected else {})
    if judges.utmos is not None:
        for subset, waveform in outputs.items():
            judged[subset]["rating"] = judges.utmos.rate(waveform)
    if judges.speaker_model is not None:
        voices = [judges.speaker_model.embed(waveform) for waveform in outputs.values()]
        for subset, voice in zip(outputs, voices, strict=True):
            judged[subset] |= {"voice": voice, "reference_voice": voices[0]}
    return judged


def _measure(
    outputs: Mapping[Subset, Waveform], judged: Mapping[Subset, Mapping[str, Any]], other_language: str | None
) -> _Measured:
    original, original_pitch = outputs[_ORIGINAL], track_pitch(outputs[_ORIGINAL])
    scores, delays = {}, {}
    for subset, output in outputs.items():
        length = min(len(original), len(output))
        reference, output = original[:length], output[:length]
        pitch = track_pitch(output)
        pitches = {"reference_pitch": original_pitch[: len(pitch)], "pitch": pitch}
        scores[subset] = metrics.measure({"reference": reference, "output": output} | pitches | dict(judged[subset]))
        delays[subset] = metrics.delay(reference, output)
    return _Measured(len(original) / SAMPLE_RATE, scores, delays, other_language)


def _row(layers: Subset, bitrate: float | None, measured: Sequence[_Measured]) -> Row:
    of_clips = [clip.scores[layers] for clip in measured]
    values = {
        metric.name: [scores[metric.name] for scores in of_clips if metric.name in scores]
        for metric in METRICS
        if any(metric.name in scores for scores in of_clips)
    }
    averages = {name: metrics.average(of_metric) for name, of_metric in values.items()}
    delays = np.array([clip.delays[layers] for clip in measured])
    defined = delays[np.isfinite(delays)]
    return Row(
        layers,
        bitrate,
        {name: value for name, (value, _) in averages.items()},
        {name: metrics.interval(of_metric) for name, of_metric in values.items()},
        {name: count for name, (_, count) in averages.items()},
        float(np.median(defined)) if len(defined) else math.nan,
    )


def _notes_on_language(judges: Judges, clips: Sequence[Clip], measured: Sequence[_Measured]) -> list[str]:
    others = {clip.path: result.other_language for clip, result in zip(clips, measured, strict=True)}
    others = {path: language for path, language in others.items() if language}
    if judges.recognizer is None or not others:
        return []
    languages = ", ".join(f"{count} {language}" for language, count in Counter(others.values()).items())
    return [
        f"Not in WER and dWER: {len(others)} clips that are not spoken in {judges.recognizer.language!r} but, by the "
        f"recognizer, in another language ({languages}), such as {next(iter(others))}. Evaluate them with --language."
    ]
