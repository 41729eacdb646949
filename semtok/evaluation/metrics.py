"""The metrics: `METRICS` lists them, each a function of waveforms, words or voices.

Waveforms are float32 [samples] at 16 kHz in [-1, 1]; `reference` and `output` are aligned and equally long. Where a
metric is not defined (a clip too short, a silent output) the answer is NaN, never a made-up number.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from semtok.downstream.text import edit_distance
from semtok.errors import missing_extra
from semtok.evaluation.pitch import f0_correlation, voicing_error
from semtok.support.intervals import Interval, bootstrap_interval

SAMPLE_RATE = 16000
Waveform: TypeAlias = npt.NDArray[np.float32]
Voice: TypeAlias = npt.NDArray[np.float32]

_MAX_DELAY_MS = 50
# speechmos declares none of the packages it imports; webrtcvad, under resemblyzer, imports pkg_resources
_NEEDED = (
    *("librosa", "matplotlib", "onnxruntime", "pesq", "pkg_resources"),
    *("pystoi", "requests", "resemblyzer", "speechmos"),
)


class WordErrors(NamedTuple):
    """Errors in what should have been so many words."""

    errors: int
    words: int


def check_extra() -> None:
    """Make sure that everything the evaluation imports is installed.

    Raises:
        SemtokError: something is not; says what, and the pip command that installs it.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise missing_extra("eval", missing)


def stoi(reference: Waveform, output: Waveform) -> float:
    """Short-time objective intelligibility, about 0 to 1, higher is better; NaN below some 0.4 s of speech.

    Source: Taal et al., "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech", 2011.
    """
    import pystoi

    with warnings.catch_warnings():
        # pystoi answers 1e-5 with this warning when there is too little speech
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, output, SAMPLE_RATE))
        except RuntimeWarning:
            return float("nan")


def pesq(reference: Waveform, output: Waveform) -> float:
    """Perceptual evaluation of speech quality, wideband, 1.0 to 4.64, higher is better.

    NaN below a quarter of a second, for silence, or where no utterance is found. Source: ITU-T P.862.2.
    """
    import pesq as itu

    if not (reference.any() and output.any()):
        return float("nan")
    try:
        return float(itu.pesq(SAMPLE_RATE, reference, output, "wb"))
    except (itu.BufferTooShortError, itu.NoUtterancesError):
        return float("nan")


def log_mel(waveform: Waveform) -> npt.NDArray[np.float32]:
    """Natural logarithm of the mel magnitudes [80, frames]: n_fft 1024, hop 256, slaney, 0 to 8 kHz, clamped at 1e-5.

    The spectrogram of HiFi-GAN's loss (Kong et al., 2020).
    """
    import librosa

    mel = librosa.feature.melspectrogram(
        y=waveform, sr=SAMPLE_RATE, n_fft=1024, hop_length=256, n_mels=80, power=1.0, pad_mode="reflect"
    )
    log_magnitudes: npt.NDArray[np.float32] = np.log(np.maximum(mel, 1e-5))
    return log_magnitudes


def log_mel_distance(reference: Waveform, output: Waveform) -> float:
    """Mean absolute difference of the `log_mel` spectrograms, from 0, lower is better.

    The output is first brought to the root mean square of the reference: encoders that normalise their input make
    tokens that do not say how loud it was.
    """
    loudness, target = np.sqrt(np.mean(output**2)), np.sqrt(np.mean(reference**2))
    if loudness > 0:
        output = output * (target / loudness)
    return float(np.abs(log_mel(reference) - log_mel(output)).mean())


def dnsmos(output: Waveform) -> float:
    """DNSMOS P.835 overall quality as a listener would rate it, 1 to 5, higher is better; uses no reference.

    Source: Reddy et al., "DNSMOS P.835", 2022; the models that come with the package speechmos.
    """
    from speechmos import dnsmos as model

    # resampling may leave peaks just beyond 1, which the model refuses
    return float(model.run(output.clip(-1, 1), SAMPLE_RATE)["ovrl_mos"])


def utmos(rating: float) -> float:
    """Naturalness as a listener would rate it, 1 to 5, higher is better: that of `semtok.evaluation.utmos`."""
    return rating


def speaker_similarity(reference_voice: Voice, voice: Voice) -> float:
    """Cosine between two speaker embeddings [dim] of unit length, -1 to 1, higher is better; NaN if one is NaN."""
    return float(np.dot(reference_voice, voice))


def word_errors(expected: Sequence[str], words: Sequence[str]) -> WordErrors:
    """How many words were substituted, inserted or deleted, at least."""
    return WordErrors(edit_distance(expected, words), len(expected))


def delay(reference: Waveform, output: Waveform) -> float:
    """Milliseconds by which the output lags behind the reference (negative: leads), within 50 ms; NaN below 0.2 s.

    The lag at which the envelopes correlate most. Tells a constant shift, which would lower STOI and PESQ unfairly,
    from a poor output; nothing here corrects it.
    """
    millisecond = SAMPLE_RATE // 1000
    envelopes = []
    for waveform in (reference, output):
        steps = len(waveform) // millisecond
        envelope = np.abs(waveform[: steps * millisecond]).reshape(steps, millisecond).mean(1)
        # 10 ms, so that neighbouring pitch pulses do not compete
        envelopes.append(np.convolve(envelope - envelope.mean(), np.ones(10), mode="same"))
    inner = len(envelopes[0]) - 2 * _MAX_DELAY_MS
    if inner < 2 * _MAX_DELAY_MS or not output.any():
        return float("nan")
    fixed = envelopes[0][_MAX_DELAY_MS:][:inner]
    correlations = [fixed @ envelopes[1][start:][:inner] for start in range(2 * _MAX_DELAY_MS + 1)]
    return float(np.argmax(correlations) - _MAX_DELAY_MS)


@dataclass(frozen=True)
class Metric:
    """One column of a report.

    Args:
        name: key of its score.
        title: its heading.
        better: "higher" or "lower".
        needs: what `function` takes, in this order, of "reference" and "output", waveforms; "reference_pitch" and
            "pitch", of `track_pitch`, equally long; "rating", of UTMOS; "reference_voice" and "voice", speaker
            embeddings; "text", the words of the text, "reference_words" and "words", those that the recognizer heard.
            Left out where one of them is not there.
        function: gives a float, of which the report has the mean over clips, or `WordErrors`, which it adds up.
        decimals: that are shown.
        unit: "" or "%", which shows a hundred times the score.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    needs: tuple[str, ...]
    function: Callable[..., float | WordErrors]
    decimals: int = 3
    unit: Literal["", "%"] = ""

    @property
    def absolute(self) -> bool:
        """Whether the originals have a figure of their own, as nothing is compared with them."""
        return not any(need.startswith("reference") for need in self.needs)

    @property
    def heading(self) -> str:
        """Title, unit and an arrow that points to the better end."""
        return f"{self.title}{', %' if self.unit else ''} {'↑' if self.better == 'higher' else '↓'}"

    def shown(self, value: float) -> float:
        """The value in its unit."""
        return value * 100 if self.unit == "%" else value

    def cell(self, value: float, within: Interval | None = None) -> str:
        """The value as a table has it, with the interval it lies in where that is known; a dash for NaN."""
        if math.isnan(value):
            return "–"
        shown = f"{self.shown(value):.{self.decimals}f}"
        if within is None or math.isnan(within.low):
            return shown
        return f"{shown} ({' to '.join(f'{self.shown(end):.{self.decimals}f}' for end in within)})"


METRICS = (
    Metric("stoi", "STOI", "higher", ("reference", "output"), stoi),
    Metric("pesq", "PESQ", "higher", ("reference", "output"), pesq, decimals=2),
    Metric("log_mel_distance", "log-mel distance", "lower", ("reference", "output"), log_mel_distance),
    Metric("f0_correlation", "F0 correlation", "higher", ("reference_pitch", "pitch"), f0_correlation),
    Metric("voicing_error", "voicing error", "lower", ("reference_pitch", "pitch"), voicing_error, 1, "%"),
    Metric("dnsmos", "DNSMOS", "higher", ("output",), dnsmos, decimals=2),
    Metric("utmos", "UTMOS", "higher", ("rating",), utmos, decimals=2),
    Metric("speaker_similarity", "speaker similarity", "higher", ("reference_voice", "voice"), speaker_similarity),
    Metric("wer", "WER", "lower", ("text", "words"), word_errors, decimals=1, unit="%"),
    Metric("dwer", "dWER", "lower", ("reference_words", "words"), word_errors, decimals=1, unit="%"),
)
"""Every metric, in the order of the columns. A new one is a function and its line here."""


def measure(evidence: Mapping[str, Any]) -> dict[str, float | WordErrors]:
    """The metrics that can be had from the evidence, which holds some of what `Metric.needs` names."""
    return {
        metric.name: metric.function(*(evidence[need] for need in metric.needs))
        for metric in METRICS
        if evidence.keys() >= set(metric.needs)
    }


def average(values: Sequence[float | WordErrors]) -> tuple[float, int]:
    """The mean of those that are defined, or all errors over all words; and of how many. NaN of none."""
    counted = [value for value in values if isinstance(value, WordErrors)]
    if counted:
        words = sum(value.words for value in counted)
        return (sum(value.errors for value in counted) / words if words else math.nan), len(counted)
    defined = [value for value in values if not math.isnan(value)]  # type: ignore[arg-type]
    return (float(np.mean(defined)) if defined else math.nan), len(defined)


def interval(values: Sequence[float | WordErrors]) -> Interval:
    """Where `average` of the values of clips lies, by bootstrap over those that have one; NaN of fewer than two."""
    counted = [value for value in values if isinstance(value, WordErrors)]
    if counted:
        errors, words = zip(*counted, strict=True)
        return bootstrap_interval(errors, words) if sum(words) else Interval(math.nan, math.nan)
    plain = [float(value) for value in values]  # type: ignore[arg-type]
    return bootstrap_interval([value for value in plain if not math.isnan(value)])
