"""Measures of resynthesised speech against its original: what was kept, and how good it sounds.

Every function takes float32 waveforms [samples] at 16 kHz in [-1, 1]; `reference` and `output` are aligned and equally
long. Where a measure is not defined (a clip too short, a silent output) the answer is NaN, never a made-up number.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from semtok.errors import SemtokError

if TYPE_CHECKING:
    from resemblyzer import VoiceEncoder

SAMPLE_RATE = 16000
Waveform: TypeAlias = npt.NDArray[np.float32]

_MAX_DELAY_MS = 50
# speechmos declares none of the packages it imports; webrtcvad, under resemblyzer, imports pkg_resources
_NEEDED = (
    *("librosa", "matplotlib", "onnxruntime", "pesq", "pkg_resources", "pocketsphinx"),
    *("pystoi", "requests", "resemblyzer", "speechmos"),
)


def check_extra() -> None:
    """Make sure that everything the evaluation imports is installed.

    Raises:
        SemtokError: something is not; says what, and the pip command that installs it.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SemtokError(
            f"the evaluation needs {', '.join(missing)}, not installed here; install the extra: "
            "pip install 'semtok[eval]'"
        )


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


def speaker_similarity(reference: Waveform, output: Waveform) -> float:
    """Cosine between the speaker embeddings of both, 0 to 1, higher is better; NaN where no speech is found.

    Source: Wan et al., "Generalized End-to-End Loss for Speaker Verification", 2018; the model of resemblyzer.
    """
    return float(np.dot(_speaker_embedding(reference), _speaker_embedding(output)))


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


def _speaker_embedding(waveform: Waveform) -> npt.NDArray[np.float32]:
    """Unit length [256]; NaN for silence."""
    if not waveform.any():
        return np.full(256, np.nan, np.float32)
    encoder = _speaker_encoder()
    from resemblyzer import preprocess_wav

    speech = preprocess_wav(waveform)
    if len(speech) == 0:
        return np.full(256, np.nan, np.float32)
    # an LSTM waits for all threads at every step: 0.1 s with one, up to 50 s with several on busy cores
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        embedding: npt.NDArray[np.float32] = encoder.embed_utterance(speech)
    finally:
        torch.set_num_threads(threads)
    return embedding


@functools.cache
def _speaker_encoder() -> VoiceEncoder:
    with warnings.catch_warnings():
        # it imports scipy.ndimage.morphology and pkg_resources, deprecated both
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
        from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)
