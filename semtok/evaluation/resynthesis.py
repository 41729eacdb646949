"""Speech to tokens and back, from several subsets of the layers, each measured against the original."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from semtok.audio.files import list_audio
from semtok.audio.io import load_audio
from semtok.codebooks.codebooks import check_layers
from semtok.evaluation import metrics, words
from semtok.evaluation.metrics import SAMPLE_RATE, Waveform
from semtok.progress import track

if TYPE_CHECKING:
    from semtok.tokenizer import Tokenizer
    from semtok.vocoder import Vocoder

Subset: TypeAlias = tuple[int, ...]
Scores: TypeAlias = dict[str, float]

_ORIGINAL: Subset = ()


@dataclass(frozen=True)
class Clip:
    """An audio file and what is said in it ("" if not known)."""

    path: Path
    text: str = ""


@dataclass(frozen=True)
class Row:
    """What was measured of one subset of the layers, over all clips.

    Args:
        layers: that were decoded; empty for the original itself.
        bitrate: bit/s of their tokens before any entropy coding; None for the original.
        scores: of each metric the mean over clips; the median of `delay`; `wer` is all errors over all words (0.5 is
            50 %). NaN where no clip gave a value.
        clips: of each metric, the clips it is defined on.
    """

    layers: Subset
    bitrate: float | None
    scores: Scores
    clips: dict[str, int]


@dataclass(frozen=True)
class Resynthesis:
    """Result of `evaluate_resynthesis`: the original first, then a row a subset, over `seconds` of audio in `clips`."""

    fingerprint: str
    clips: int
    seconds: float
    rows: tuple[Row, ...]


def find_clips(folder: str | os.PathLike[str]) -> list[Clip]:
    """The clips of a folder or manifest, as `semtok.audio.files.list_audio` has them; what is said, by a column `text`.

    Raises:
        AudioError: the folder is missing, holds no audio, or its manifest has no column `path`.
    """
    entries = list_audio(Path(folder)).entries
    return [Clip(path, columns.get("text") or "") for path, columns in entries]


def default_subsets(layers: Sequence[int]) -> list[Subset]:
    """Every single layer; the lowest with the middle and with the deepest one; the lowest three; all layers.

    The lowest layer keeps most of the acoustics and the deeper ones the content, so the pairs join one of each.
    """
    layers = sorted(layers)
    lowest, middle, deepest = layers[0], layers[len(layers) // 2], layers[-1]
    subsets = [(layer,) for layer in layers] + [(lowest, middle), (lowest, deepest), tuple(layers[:3]), tuple(layers)]
    return [subset for subset in dict.fromkeys(subsets) if len(set(subset)) == len(subset)]


def evaluate_resynthesis(
    tokenizer: Tokenizer,
    vocoder: Vocoder,
    audio: str | os.PathLike[str],
    *,
    subsets: Sequence[Sequence[int]] | None = None,
    workers: int | None = None,
) -> Resynthesis:
    """Encode every clip of a folder, decode it from each subset of the layers, and measure what comes out.

    A vocoder with a speaker encoder is told the voice of each clip, as the encoder hears it in that clip.
    The original is measured too, as the first row. A vocoder's output ends up to a frame before its original: they are
    compared over their common length, and never shifted (`delay` says whether one lags).

    Args:
        tokenizer, vocoder: of one checkpoint; used on the device they are on.
        audio: folder, read by `find_clips`.
        subsets: of the vocoder's layers; `default_subsets` by default.
        workers: processes that measure; one a core by default. They start afresh, so a script that calls this needs
            the usual `if __name__ == "__main__":`.

    Raises:
        SemtokError: the extra `eval` is not installed.
        LayerError: a subset with layers that the vocoder lacks.
        AudioError: as `find_clips`; a file that cannot be read or is too short to encode.
    """
    metrics.check_extra()
    checked = [check_layers(subset, vocoder.layers, owner="the vocoder") for subset in subsets or ()]
    checked = checked or default_subsets(vocoder.layers)
    clips = find_clips(audio)
    scored = _score_clips(tokenizer, vocoder, clips, checked, workers or os.cpu_count() or 1)
    results = list(track(scored, "measuring", len(clips)))
    rows = [_row(_ORIGINAL, None, [scores[_ORIGINAL] for _, scores in results])]
    for subset in checked:
        bitrate = tokenizer.frame_rate * tokenizer.codebooks.select(subset, owner="the tokenizer").bits
        rows.append(_row(subset, bitrate, [scores[subset] for _, scores in results]))
    seconds = sum(samples for samples, _ in results) / SAMPLE_RATE
    return Resynthesis(tokenizer.fingerprint, len(clips), seconds, tuple(rows))


def score(reference: Waveform, output: Waveform, text: str = "") -> Scores:
    """All metrics of one clip by name; with a `text` in English also `words`, how many it has, and `word_errors`.

    `reference` and `output` are float32 [samples] at 16 kHz; they are compared over their common length.
    """
    length = min(len(reference), len(output))
    reference, output = reference[:length], output[:length]
    scores = {
        "stoi": metrics.stoi(reference, output),
        "pesq": metrics.pesq(reference, output),
        "log_mel_distance": metrics.log_mel_distance(reference, output),
        "dnsmos": metrics.dnsmos(output),
        "speaker_similarity": metrics.speaker_similarity(reference, output),
        "delay": metrics.delay(reference, output),
    }
    if words.is_recognisable(text):
        expected = words.split_words(text)
        scores |= {"words": len(expected), "word_errors": words.word_errors(expected, words.transcribe(output))}
    return scores


def _score_clips(
    tokenizer: Tokenizer, vocoder: Vocoder, clips: Sequence[Clip], subsets: Sequence[Subset], workers: int
) -> Iterator[tuple[int, dict[Subset, Scores]]]:
    """Samples and scores of each clip, in order. Decodes here while other processes measure."""
    # spawn, as forking a process with torch's threads can hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: deque[tuple[int, Future[dict[Subset, Scores]]]] = deque()
        for clip in clips:
            reference = load_audio(clip.path, sample_rate=SAMPLE_RATE).numpy()
            outputs = _resynthesise(tokenizer, vocoder, reference, subsets)
            pending.append((len(reference), pool.submit(_score_outputs, reference, outputs, clip.text)))
            # bounds the audio that waits in memory
            if len(pending) > 2 * workers:
                samples, future = pending.popleft()
                yield samples, future.result()
        for samples, future in pending:
            yield samples, future.result()


def _resynthesise(
    tokenizer: Tokenizer, vocoder: Vocoder, waveform: Waveform, subsets: Sequence[Subset]
) -> dict[Subset, Waveform]:
    """What each subset of the layers sounds like, and the original itself, all at 16 kHz."""
    import soxr

    tokens = tokenizer.encode(waveform, sample_rate=SAMPLE_RATE, layers=vocoder.layers)
    told = vocoder.config.speaker is not None and vocoder.config.speaker.channels is not None
    speaker = vocoder.speaker(waveform, sample_rate=SAMPLE_RATE) if told else None
    outputs = {_ORIGINAL: waveform}
    for subset in subsets:
        output = vocoder.decode(tokens, layers=subset, speaker=speaker)[0].cpu().numpy()
        outputs[subset] = soxr.resample(output, vocoder.sample_rate, SAMPLE_RATE)
    return outputs


def _score_outputs(reference: Waveform, outputs: dict[Subset, Waveform], text: str) -> dict[Subset, Scores]:
    return {subset: score(reference, output, text) for subset, output in outputs.items()}


def _row(layers: Subset, bitrate: float | None, clips: Sequence[Scores]) -> Row:
    values = {name: np.array([clip[name] for clip in clips if name in clip]) for clip in clips for name in clip}
    errors, total = (values.pop(name, np.zeros(0)) for name in ("word_errors", "words"))
    defined = {name: value[np.isfinite(value)] for name, value in values.items()}
    scores = {name: float(value.mean()) if len(value) else math.nan for name, value in defined.items()}
    if len(defined["delay"]):
        scores["delay"] = float(np.median(defined["delay"]))
    scores["wer"] = float(errors.sum() / total.sum()) if len(total) else math.nan
    counts = {name: len(value) for name, value in defined.items()}
    return Row(layers, bitrate, scores, counts | {"wer": len(total)})
