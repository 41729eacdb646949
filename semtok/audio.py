"""Reads, mixes to mono, resamples and writes audio; turns every accepted input into a list of 1-D waveforms."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semtok.errors import AudioError
from semtok.files import written_aside

AudioArray: TypeAlias = npt.NDArray[Any] | Tensor
AudioPath: TypeAlias = str | os.PathLike[str]
AudioInput: TypeAlias = AudioPath | AudioArray | Sequence[AudioPath] | Sequence[AudioArray]

_ACCEPTED = "a path, a list of paths, an array [samples] or [batch, samples] (numpy or torch), or a list of 1-D arrays"
_ARRAY = (np.ndarray, Tensor)
_PATH = (str, os.PathLike)
_FORMATS = {
    ".wav": {"format": "WAV", "subtype": "PCM_16"},
    ".flac": {"format": "FLAC", "subtype": "PCM_16"},
    ".ogg": {"format": "OGG", "subtype": "VORBIS"},
    ".opus": {"format": "OGG", "subtype": "OPUS"},
    ".mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
}
_TO_FLOAT = {"uint8": "(wav - 128.0) / 128", "int16": "wav / 32768.0", "int32": "wav / 2147483648.0"}
_MAX_PEAK = 100.0
_MIN_SAMPLE_RATE = 1000
_WRITE_BLOCK = 65536


def load_audio(path: AudioPath, *, sample_rate: int = 16000) -> Tensor:
    """Read an audio file as float32 [samples] at `sample_rate` (Hz), on the CPU.

    Any format that libsndfile knows: wav, flac, ogg, opus, mp3 and more. Channels are mixed to mono by their mean; a
    file of another rate is resampled (soxr, quality HQ).

    Raises:
        AudioError: a missing file, a folder, a corrupt file or no audio; empty audio, NaN, Inf or a peak beyond 100.
    """
    _check_sample_rate(sample_rate, "sample_rate")
    waveform, file_sample_rate = _read(path)
    return _resample(waveform, file_sample_rate, sample_rate, name=str(path))


def save_audio(path: AudioPath, waveform: AudioArray, *, sample_rate: int = 16000) -> None:
    """Write a mono audio file, its format chosen by the suffix: .wav or .flac (16-bit PCM), .ogg, .opus or .mp3.

    Samples outside [-1, 1] are clipped, as 16-bit PCM has no room for them. The file appears whole or not at all.

    Args:
        path: the file, in a folder that exists; an older file is replaced.
        waveform: floating point [samples] or [1, samples], numpy or torch, on any device.
        sample_rate: rate of the waveform in Hz.

    Raises:
        AudioError: another suffix, a missing folder, a waveform of another shape or type, an empty one, NaN, Inf,
            a peak beyond 100, or a rate that the format cannot hold.
    """
    import soundfile

    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise AudioError(f"cannot write {path}: the suffix must be one of {', '.join(_FORMATS)}, got {path.suffix!r}")
    if not path.parent.is_dir():
        raise AudioError(f"cannot write {path}: the folder {path.parent} does not exist, create it first")
    if not isinstance(waveform, _ARRAY):
        raise AudioError(f"cannot write a {type(waveform).__name__}: expected a numpy array or a torch tensor")
    if waveform.ndim == 2 and len(waveform) == 1:
        waveform = waveform[0]
    if waveform.ndim != 1:
        raise AudioError(
            f"cannot write a waveform of shape {list(waveform.shape)}: expected [samples] or [1, samples]; "
            "write the clips of a batch one by one"
        )
    _check_sample_rate(sample_rate, "sample_rate")
    samples = _to_waveform(waveform, "the waveform").clamp(-1, 1).cpu().numpy()

    form = _FORMATS[path.suffix.lower()]
    try:
        with written_aside(path) as aside, soundfile.SoundFile(aside, "w", sample_rate, channels=1, **form) as file:
            # in blocks, as libsndfile 1.2.2 crashes when it gets minutes of audio for Vorbis in one call
            for start in range(0, len(samples), _WRITE_BLOCK):
                file.write(samples[start : start + _WRITE_BLOCK])
    except soundfile.SoundFileError as error:
        raise AudioError(f"cannot write {path} at {sample_rate} Hz: {error}") from error


def to_waveforms(
    audio: AudioInput,
    *,
    sample_rate: int | None,
    target_sample_rate: int,
    lengths: Sequence[int] | AudioArray | None = None,
) -> list[Tensor]:
    """Turn every accepted input into a list of 1-D waveforms at one rate.

    Args:
        audio: a path, a list of paths, a numpy array or torch tensor [samples] or [batch, samples], or a list of 1-D
            arrays of any lengths; floating point in [-1, 1]. [2, samples] could be stereo as well as a batch of two,
            so it is taken as a batch only together with `lengths`.
        sample_rate: rate of the arrays in Hz, None if it is `target_sample_rate`. Files say their own rate: with paths
            give None or exactly that rate.
        target_sample_rate: rate of the answer in Hz; audio of another rate is resampled (soxr, quality HQ).
        lengths: samples of each row of a [batch, samples] array, at its own rate; what lies past them is cut off.

    Returns:
        One float32 [samples] a clip, none empty, on the device of its array (the CPU for files). The caller's arrays
        are never changed, but an answer may share memory with them.

    Raises:
        AudioError: as `load_audio`; integer arrays, other shapes or types, arrays that are or could be stereo, paths
            and arrays mixed, a rate that contradicts the file's, `lengths` that do not fit.
    """
    _check_sample_rate(target_sample_rate, "target_sample_rate")
    if sample_rate is not None:
        _check_sample_rate(sample_rate, "sample_rate")

    waveforms = []
    for index, clip in enumerate(_split(audio, lengths)):
        if isinstance(clip, _ARRAY):
            name = f"clip {index}"
            waveform, clip_sample_rate = _to_waveform(clip, name), sample_rate or target_sample_rate
        else:
            name = str(clip)
            waveform, clip_sample_rate = _read(clip)
            if sample_rate not in (None, clip_sample_rate):
                raise AudioError(
                    f"{name} is at {clip_sample_rate} Hz but sample_rate={sample_rate} was given: "
                    "leave sample_rate out for files, they say their own rate"
                )
        waveforms.append(_resample(waveform, clip_sample_rate, target_sample_rate, name=name))
    return waveforms


def _split(audio: AudioInput, lengths: Sequence[int] | AudioArray | None) -> Sequence[AudioPath | AudioArray]:
    """Every accepted input as a sequence of paths or of 1-D arrays."""
    if isinstance(audio, _ARRAY) and audio.ndim == 2:
        return _split_batch(audio, lengths)
    if lengths is not None:
        raise AudioError("lengths go with an array [batch, samples]; cut the clips of any other input yourself")
    clips: Sequence[Any] = audio if isinstance(audio, (list, tuple)) else [audio]
    if not clips:
        raise AudioError(f"expected {_ACCEPTED}; got an empty {type(audio).__name__}")
    for index, clip in enumerate(clips):
        if isinstance(clip, _ARRAY) and clip.ndim != 1:
            raise AudioError(f"expected {_ACCEPTED}; clip {index} has shape {list(clip.shape)}")
        if not isinstance(clip, _ARRAY + _PATH):
            where = "" if clip is audio else f" as clip {index} of a {type(audio).__name__}"
            raise AudioError(f"expected {_ACCEPTED}; got {type(clip).__name__}{where}")
    if len({isinstance(clip, _PATH) for clip in clips}) == 2:
        raise AudioError("a list of clips holds either paths or arrays, got both: load the paths with load_audio first")
    return clips


def _split_batch(audio: AudioArray, lengths: Sequence[int] | AudioArray | None) -> list[AudioArray]:
    batch, samples = shape = list(audio.shape)
    if 0 in shape:
        raise AudioError(f"audio of shape {shape} is empty")
    if samples <= 8 and batch > 100 * samples:
        raise AudioError(
            f"audio of shape {shape} looks like [samples, channels]: mix it to mono with wav.mean(1), "
            "or transpose it for a batch"
        )
    if batch == 2 and lengths is None:
        raise AudioError(
            f"audio of shape {shape} could be stereo: pass wav.mean(0) for its mono mix; "
            "for a batch of two clips pass list(wav), or give lengths="
        )
    if lengths is None:
        return list(audio)

    counts = np.asarray(lengths.cpu() if isinstance(lengths, Tensor) else lengths)
    if not np.issubdtype(counts.dtype, np.integer) or counts.shape != (batch,):
        raise AudioError(
            f"lengths must be integers, the samples of each of {batch} clips, "
            f"got {counts.dtype} of shape {list(counts.shape)}"
        )
    for index, length in enumerate(counts):
        if not 1 <= length <= samples:
            raise AudioError(f"lengths[{index}] is {length}, expected 1 to {samples} samples")
    return [row[:length] for row, length in zip(audio, counts.tolist(), strict=True)]


def _read(path: AudioPath) -> tuple[Tensor, int]:
    """A file as a mono waveform [samples] at its own rate, and that rate."""
    import soundfile

    path = Path(path)
    if path.is_dir():
        raise AudioError(f"{path} is a folder: pass the audio files in it")
    if not path.exists():
        raise AudioError(f"there is no audio file {path} (looked from {Path.cwd()})")
    try:
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless .raw file has no rate
        raise AudioError(
            f"cannot read {path} ({path.stat().st_size} bytes), it is corrupt or of an unknown format: {error}"
        ) from error
    return _to_waveform(samples.mean(axis=1), str(path)), sample_rate


def _to_waveform(array: AudioArray, name: str) -> Tensor:
    """A 1-D array as a checked float32 tensor [samples]; `name` is what an error calls it."""
    if not (array.is_floating_point() if isinstance(array, Tensor) else np.issubdtype(array.dtype, np.floating)):
        dtype = str(array.dtype).removeprefix("torch.")
        raise AudioError(
            f"{name} is of type {dtype}, expected floating point in [-1, 1]; "
            f"integer samples are converted with, e.g., {_TO_FLOAT.get(dtype, _TO_FLOAT['int16'])}"
        )
    if isinstance(array, np.ndarray):
        # a copy, as torch takes neither reversed nor read-only arrays without complaint
        array = torch.from_numpy(np.array(array, dtype=np.float32))
    waveform = array.detach().to(torch.float32)
    if waveform.numel() == 0:
        raise AudioError(f"{name} is empty (0 samples)")
    peak = waveform.abs().max().item()
    if not math.isfinite(peak):
        index = int((~waveform.isfinite()).nonzero()[0])
        raise AudioError(f"{name} holds {waveform[index].item()} at sample {index}: every sample must be finite")
    if peak > _MAX_PEAK:
        raise AudioError(f"{name} has a peak of {peak:g}, expected samples in [-1, 1]: divide 16-bit samples by 32768")
    return waveform


def _check_sample_rate(sample_rate: int, name: str) -> None:
    if not isinstance(sample_rate, (int, np.integer)) or sample_rate < _MIN_SAMPLE_RATE:
        raise AudioError(f"{name} must be an integer in Hz, at least {_MIN_SAMPLE_RATE}, got {sample_rate!r}")


def _resample(waveform: Tensor, sample_rate: int, target_sample_rate: int, *, name: str) -> Tensor:
    if sample_rate == target_sample_rate:
        return waveform
    import soxr

    resampled = soxr.resample(waveform.cpu().numpy(), sample_rate, target_sample_rate, quality="HQ")
    if len(resampled) == 0:
        raise AudioError(
            f"{name} is too short: {len(waveform)} samples at {sample_rate} Hz leave none at {target_sample_rate} Hz"
        )
    return torch.from_numpy(resampled).to(waveform.device)
