"""Reads audio in blocks, mixed to mono and resampled, and writes it; what samples must be."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semtok.errors import AudioError
from semtok.files.atomic import atomic_write

if TYPE_CHECKING:
    from soundfile import SoundFile

AudioArray: TypeAlias = npt.NDArray[Any] | Tensor
AudioPath: TypeAlias = str | os.PathLike[str]
Samples: TypeAlias = npt.NDArray[np.float32]

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
_READ_SECONDS = 30


def load_audio(path: AudioPath, *, sample_rate: int = 16000) -> Tensor:
    """Read an audio file as float32 [samples] at `sample_rate` (Hz), on the CPU.

    Any format that libsndfile knows: wav, flac, ogg, opus, mp3 and more. Channels are mixed to mono by their mean; a
    file of another rate is resampled (soxr, quality HQ).

    Raises:
        AudioError: a missing file, a folder, a corrupt file or no audio; empty audio, NaN, Inf or a peak beyond 100.
    """
    check_sample_rate(sample_rate, "sample_rate")
    return join_blocks(read_blocks(check_path(path), sample_rate=sample_rate, seconds=_READ_SECONDS))


def save_audio(path: AudioPath, waveform: AudioArray | Iterator[AudioArray], *, sample_rate: int = 16000) -> None:
    """Write a mono audio file, its format chosen by the suffix: .wav or .flac (16-bit PCM), .ogg, .opus or .mp3.

    Samples outside [-1, 1] are clipped, as 16-bit PCM has no room for them. The file appears whole or not at all.

    Args:
        path: the file, in a folder that exists; an older file is replaced.
        waveform: floating point [samples] or [1, samples], numpy or torch, on any device; or an iterator over its
            consecutive pieces, which are written one by one, so that it never is in memory whole.
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
    check_sample_rate(sample_rate, "sample_rate")
    pieces = waveform if isinstance(waveform, Iterator) else iter([waveform])
    first = _to_samples(next(pieces, np.zeros(0, dtype=np.float32)))

    form = _FORMATS[path.suffix.lower()]
    try:
        with atomic_write(path) as aside, soundfile.SoundFile(aside, "w", sample_rate, channels=1, **form) as file:
            for samples in chain([first], map(_to_samples, pieces)):
                # in blocks, as libsndfile 1.2.2 crashes when it gets minutes of audio for Vorbis in one call
                for start in range(0, len(samples), _WRITE_BLOCK):
                    file.write(samples[start : start + _WRITE_BLOCK])
    except soundfile.SoundFileError as error:
        raise AudioError(f"cannot write {path} at {sample_rate} Hz: {error}") from error


def _to_samples(waveform: AudioArray) -> Samples:
    """What `save_audio` was given, or a piece of it, once it is found fit to be written."""
    if not isinstance(waveform, (np.ndarray, Tensor)):
        raise AudioError(f"cannot write a {type(waveform).__name__}: expected a numpy array or a torch tensor")
    if waveform.ndim == 2 and len(waveform) == 1:
        waveform = waveform[0]
    if waveform.ndim != 1:
        raise AudioError(
            f"cannot write a waveform of shape {list(waveform.shape)}: expected [samples] or [1, samples]; "
            "write the clips of a batch one by one"
        )
    samples: Samples = to_waveform(waveform, "the waveform").clamp(-1, 1).cpu().numpy()
    return samples


def check_path(path: AudioPath) -> Path:
    """The path of an audio file.

    Raises:
        AudioError: there is no such file, or it is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise AudioError(f"{path} is a folder: pass the audio files in it")
    if not path.exists():
        raise AudioError(f"there is no audio file {path} (looked from {Path.cwd()})")
    return path


def read_header(path: Path) -> tuple[int, int]:
    """What the header of an audio file says, samples of a channel and the rate in Hz.

    The samples may be wrong; a stream that was not closed says 2^63 - 1.

    Raises:
        AudioError: a corrupt file or no audio.
    """
    with _open(path) as file:
        return file.frames, file.samplerate


def read_blocks(path: Path, *, sample_rate: int, seconds: float) -> Iterator[Samples]:
    """All of an audio file in consecutive pieces of about so many seconds: float32 [samples], mono, at `sample_rate`.

    Raises:
        AudioError: a corrupt file or no audio; empty audio, NaN, Inf or a peak beyond 100.
    """
    with _open(path) as file:
        frames = min(round(seconds * file.samplerate), file.frames)
        blocks = _mono_blocks(file, path, max(frames, 1))
        yield from resample_blocks(blocks, file.samplerate, sample_rate, name=str(path))


def resample_blocks(blocks: Iterable[Samples], sample_rate: int, target: int, *, name: str) -> Iterator[Samples]:
    """Consecutive pieces of audio at another rate (soxr, quality HQ): the same samples however it was cut.

    Raises:
        AudioError: too little audio for one sample.
    """
    if sample_rate == target:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(sample_rate, target, 1, dtype="float32", quality="HQ")
    taken = given = 0
    end = np.zeros(0, dtype=np.float32)
    for block, last in chain(((block, False) for block in blocks), [(end, True)]):
        resampled = stream.resample_chunk(block, last=last)
        taken, given = taken + len(block), given + len(resampled)
        if len(resampled):
            yield resampled
    if given == 0:
        raise AudioError(f"{name} is too short: {taken} samples at {sample_rate} Hz leave none at {target} Hz")


def join_blocks(blocks: Iterable[Samples]) -> Tensor:
    """Pieces of audio in one: float32 [samples]."""
    # numpy throughout, as torch would start a team of threads in every thread that reads audio
    return torch.from_numpy(np.concatenate(list(blocks)))


def to_waveform(array: AudioArray, name: str) -> Tensor:
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
    if len(waveform) == 0:
        raise AudioError(f"{name} is empty (0 samples)")
    _check_samples(waveform, name)
    return waveform


def check_sample_rate(sample_rate: int, name: str) -> None:
    """Refuses what is no rate in Hz; `name` is what the error calls it."""
    if not isinstance(sample_rate, (int, np.integer)) or sample_rate < _MIN_SAMPLE_RATE:
        raise AudioError(f"{name} must be an integer in Hz, at least {_MIN_SAMPLE_RATE}, got {sample_rate!r}")


@functools.cache
def _sequential_reader() -> type[SoundFile]:
    import soundfile

    class SequentialReader(soundfile.SoundFile):  # type: ignore[misc]
        """soundfile seeks after every read: an MP3 then goes on with other samples, a FLAC of unknown length fails."""

        def seekable(self) -> bool:
            return False

    return SequentialReader


@contextmanager
def _open(path: Path) -> Iterator[SoundFile]:
    """A file open for reading; what is wrong with it, now or while it is read, becomes an AudioError."""
    import soundfile

    try:
        with _sequential_reader()(path) as file:
            yield file
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless .raw file has no rate
        raise AudioError(
            f"cannot read {path} ({path.stat().st_size} bytes), it is corrupt or of an unknown format: {error}"
        ) from error


def _mono_blocks(file: SoundFile, path: Path, frames: int) -> Iterator[Samples]:
    read = 0
    # until nothing comes: what headers say of the length is not always true
    while len(block := file.read(frames, dtype="float32", always_2d=True)):
        samples = block[:, 0] if file.channels == 1 else block.mean(axis=1)
        _check_samples(samples, str(path), read)
        yield samples
        read += len(samples)
    if read == 0:
        raise AudioError(f"{path} is empty (0 samples)")


def _check_samples(samples: Samples | Tensor, name: str, start: int = 0) -> None:
    """Refuses NaN, Inf and a peak beyond 100; `start` is the number of the first sample."""
    peak = max(float(samples.max()), -float(samples.min()))
    if not math.isfinite(peak):
        samples = torch.as_tensor(samples)
        index = int((~samples.isfinite()).nonzero()[0])
        raise AudioError(f"{name} holds {samples[index].item()} at sample {start + index}: every sample must be finite")
    if peak > _MAX_PEAK:
        raise AudioError(f"{name} has a peak of {peak:g}, expected samples in [-1, 1]: divide 16-bit samples by 32768")
