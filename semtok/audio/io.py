"""Reads audio in blocks, mixed to mono and resampled, and writes it; what samples must be."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semtok.audio.containers.foreign import convert_command, foreign_format
from semtok.audio.containers.parts import Spliced
from semtok.audio.containers.splitting import flac_follows, split
from semtok.audio.opening import AudioFile, AudioPath, copy_once, is_file, name_file, open_file
from semtok.errors import AudioError
from semtok.support.atomic import atomic_write

if TYPE_CHECKING:
    from soundfile import SoundFile

AudioArray: TypeAlias = npt.NDArray[Any] | Tensor
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
# Beyond these no speech is recorded; a file that says 1 Hz would grow 16,000-fold where it is resampled.
_MIN_SAMPLE_RATE, _MAX_SAMPLE_RATE = 1000, 768_000
# A few kilobytes of FLAC may hold days of silence; a day at 16 kHz takes 5.5 GB in memory.
_MAX_SECONDS = 24 * 3600
_WRITE_BLOCK = 65536
_READ_SECONDS = 30
# An encoder may count the header of an MP3 for a frame of it, and a decoder leave out the first one after a cut.
_MPEG_SLACK = 2304
SEGMENT_SLACK = 0.01
"""Manifests round times to hundredths of a second, so that a segment may seem to end so long after its file."""

# Containers and encodings in which libsndfile finds a sample by its number; elsewhere it comes out near it.
_SEEKABLE_FORMATS = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "CAF"}
_SEEKABLE_ENCODINGS = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
# More samples than any file has: what libsndfile says where it does not know.
_UNKNOWN = 1 << 60
# Of the channels' energy: with less left in their mean they cancel.
_CANCELLED = 1e-4
_SILENCE = 1e-8
_CANCEL_SECONDS = 2


def load_audio(path: AudioFile, *, sample_rate: int = 16000) -> Tensor:
    """Read an audio file as float32 [samples] at `sample_rate` (Hz), on the CPU.

    Any format that libsndfile knows: wav, flac, ogg, opus, mp3 and more. Channels are mixed to mono by their mean, but
    where they cancel each other the first is taken, with a warning. A file of another rate is resampled (soxr, HQ).

    Args:
        path: of a file or a pipe; or the content of a file as bytes, or a file that is open in binary mode.
        sample_rate: of the answer.

    Raises:
        AudioError: a missing file, a folder, a corrupt file, one that was cut, or no audio; empty audio, NaN, Inf or a
            peak beyond 100; channels that cancel each other.
    """
    check_sample_rate(sample_rate, "sample_rate")
    if not is_file(path):
        raise AudioError(f"expected a path, bytes or an open file, got {type(path).__name__}")
    return read_whole(path, name_file(path), sample_rate=sample_rate)


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


def read_header(file: AudioFile, name: str) -> tuple[int, int]:
    """Samples of a channel that a file of audio has, as its container says, and its rate in Hz.

    The samples may be wrong; a stream that was not closed says 2^63 - 1. `name` is what an error calls the file.

    Raises:
        AudioError: as `load_audio`, for what the container shows.
    """
    with _open(file, name) as streams:
        return sum(stream.samples for stream in streams), streams[0].sound.samplerate


def read_whole(file: AudioFile, name: str, *, sample_rate: int) -> Tensor:
    """As `load_audio`; `name` is what an error calls the file."""
    return join_blocks(read_blocks(file, name, sample_rate=sample_rate, seconds=_READ_SECONDS))


def read_blocks(
    file: AudioFile, name: str, *, sample_rate: int, seconds: float, start: float = 0.0, duration: float | None = None
) -> Iterator[Samples]:
    """An audio file in consecutive pieces of about so many seconds: float32 [samples], mono, at `sample_rate`.

    Args:
        file: read whole, or from `start` for `duration` seconds: those samples, as if they were a file of their own.
        name: what an error calls the file.
        sample_rate: of the answer, Hz.
        seconds: of a piece.
        start, duration: the part to read, rounded to samples of the file; to its end by default. It may end
            `SEGMENT_SLACK` after the file does.

    Raises:
        AudioError: as `load_audio`; what the container does not show once the end is reached.
    """
    file = copy_once(file, name)
    with _open(file, name) as streams:
        rate = streams[0].sound.samplerate
        first_only = streams[0].sound.channels > 1 and _channels_cancel(file, name)
        first = round(start * rate)
        skipped = first if _seeks_exactly(streams) else 0
        blocks = _mono_blocks(streams, name, max(1, round(seconds * rate)), first_only, skipped)
        if duration is None:
            blocks = _no_longer_than_a_day(blocks, sum(stream.samples for stream in streams), rate, name)
        if first > 0 or duration is not None:
            samples = None if duration is None else round(duration * rate)
            blocks = _cut_blocks(blocks, first - skipped, samples, round(SEGMENT_SLACK * rate), name)
        yield from resample_blocks(blocks, rate, sample_rate, name=name)


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
    read = written = 0
    end = np.zeros(0, dtype=np.float32)
    for block, last in chain(((block, False) for block in blocks), [(end, True)]):
        resampled = stream.resample_chunk(block, last=last)
        read, written = read + len(block), written + len(resampled)
        if len(resampled):
            yield resampled
    if written == 0:
        raise AudioError(f"{name} is too short: {read} samples at {sample_rate} Hz leave none at {target} Hz")


def join_blocks(blocks: Iterable[Samples]) -> Tensor:
    """Pieces of audio in one: float32 [samples]."""
    # numpy throughout, as torch would start a team of threads in every thread that reads audio
    return torch.from_numpy(np.concatenate(list(blocks)))


def to_waveform(array: AudioArray, name: str, *, finite: bool = False) -> Tensor:
    """A 1-D array as a checked float32 tensor [samples].

    Args:
        array: as it was given.
        name: what an error calls it.
        finite: whether the caller answers for its samples, which are then not looked at.
    """
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
    if not finite:
        _check_samples(waveform, name)
    return waveform


def check_sample_rate(sample_rate: int, name: str) -> None:
    """Refuses what is no rate in Hz; `name` is what the error calls it."""
    if not isinstance(sample_rate, (int, np.integer)) or not _MIN_SAMPLE_RATE <= sample_rate <= _MAX_SAMPLE_RATE:
        raise AudioError(
            f"{name} must be an integer in Hz, {_MIN_SAMPLE_RATE} to {_MAX_SAMPLE_RATE}, got {sample_rate!r}"
        )


@functools.cache
def _sequential_reader() -> type[SoundFile]:
    import soundfile

    class SequentialReader(soundfile.SoundFile):  # type: ignore[misc]
        """soundfile seeks after every read: an MP3 then goes on with other samples, a FLAC of unknown length fails."""

        def seekable(self) -> bool:
            return False

    return SequentialReader


class _Stream(NamedTuple):
    """A stream of a file, of which there may be several that follow each other, and how many samples it should have."""

    sound: SoundFile
    samples: int
    file: Spliced


@contextmanager
def _open(file: AudioFile, name: str) -> Iterator[Sequence[_Stream]]:
    """The streams of a file; what is wrong with it, now or while it is read, becomes an AudioError."""
    import soundfile

    with open_file(file, name) as opened:
        parts = split(opened, name)
        try:
            sounds = [_sequential_reader()(part.file) for part in parts]
            if len(rates := {sound.samplerate for sound in sounds}) > 1:
                raise AudioError(f"{name} holds streams of several rates, {sorted(rates)} Hz: {convert_command(name)}")
            check_sample_rate(sounds[0].samplerate, f"the sample rate of {name}")
            yield [
                _Stream(sound, sound.frames if part.samples is None else part.samples, part.file)
                for sound, part in zip(sounds, parts, strict=True)
            ]
        except soundfile.SoundFileError as error:
            raise AudioError(_explain(opened, name, error)) from error


def _explain(file: BinaryIO, name: str, error: Exception) -> str:
    """Why libsndfile cannot read a file."""
    file.seek(0)
    head = file.read(64)
    if (foreign := foreign_format(head)) is not None:
        return f"{name} is {foreign}, not a format that libsndfile reads: convert it with {convert_command(name)}"
    size = file.seek(0, 2)
    reason = str(error).rpartition(": ")[2]
    return (
        f"cannot read {name} ({size} bytes), it is corrupt or of an unknown format: {reason} "
        f"If it plays elsewhere, convert it: {convert_command(name)}"
    )


def _channels_cancel(file: AudioFile, name: str) -> bool:
    """Whether the mean of the channels is silence, by the first seconds that are not silence themselves."""
    with _open(file, name) as ((sound, *_), *_):
        while len(block := sound.read(_CANCEL_SECONDS * sound.samplerate, dtype="float32", always_2d=True)):
            energy = float(np.square(block).mean())
            if energy > _SILENCE:
                if cancel := float(np.square(block.mean(axis=1)).mean()) < _CANCELLED * energy:
                    warnings.warn(
                        f"the channels of {name} cancel each other, so the first one is taken, not their mean; "
                        f"for another one: {convert_command(name, '-af', 'pan=mono|c0=c1')}",
                        stacklevel=2,
                    )
                return cancel
    return False


def _seeks_exactly(streams: Sequence[_Stream]) -> bool:
    sound = streams[0].sound
    return (
        len(streams) == 1
        and sound.format in _SEEKABLE_FORMATS
        and sound.subtype.startswith(_SEEKABLE_ENCODINGS)
        and streams[0].samples < _UNKNOWN
    )


def _cut_blocks(blocks: Iterable[Samples], first: int, samples: int | None, slack: int, name: str) -> Iterator[Samples]:
    """Those `samples` (or all) that follow the first `first` ones; nothing after them is read."""
    left = math.inf if samples is None else samples
    for block in blocks:
        piece = block[first : first + int(min(left, len(block)))]
        first = max(first - len(block), 0)
        if len(piece):
            yield piece
        left -= len(piece)
        if left <= 0:
            return
    if samples is not None and left > slack:
        raise AudioError(f"{name} ends before its segment does: {left} of {samples} samples are missing")


def _no_longer_than_a_day(blocks: Iterable[Samples], samples: int, rate: int, name: str) -> Iterator[Samples]:
    """The blocks, unless there are more than 24 hours, by the container's number of `samples` or by their own."""
    read = 0
    if samples >= _UNKNOWN:
        samples = 0
    for block in blocks:
        read += len(block)
        if max(read, samples) > _MAX_SECONDS * rate:
            raise AudioError(
                f"{name} holds more than 24 hours of audio: cut it into parts, or name segments of it in a manifest"
            )
        yield block


def _mono_blocks(
    streams: Sequence[_Stream], name: str, frames: int, first_only: bool, skipped: int
) -> Iterator[Samples]:
    """The samples of streams one after the other, so many frames at a time: their first channel, or the mean.

    The first `skipped` samples, no more than there are, are left out where the streams can be sought in.
    """
    if skipped:
        streams[0].sound.seek(skipped)
    read, before = skipped, 0
    for sound, samples, file in streams:
        size = max(1, min(frames, samples))
        # until nothing comes: what headers say of the length is not always true
        while len(block := sound.read(size, dtype="float32", always_2d=True)):
            mono = block[:, 0] if first_only or sound.channels == 1 else block.mean(axis=1)
            _check_samples(mono, name, read)
            yield mono
            read += len(mono)
        slack = _MPEG_SLACK if sound.format == "MP3" else 0
        if read - before + slack < samples < _UNKNOWN:
            raise AudioError(
                f"{name} ends early: {samples} samples of a channel at {sound.samplerate} Hz were expected, "
                f"{read - before} can be read. Fetch it again, or take what is there: {convert_command(name)}"
            )
        if sound.format == "FLAC" and flac_follows(file):
            raise AudioError(
                f"{name} holds another FLAC stream after {read} samples, which no decoder reads: "
                "join the files it was made of by their audio, such as with sox a.flac b.flac joined.flac"
            )
        before = read
    if read == 0:
        raise AudioError(f"{name} is empty (0 samples)")


def _check_samples(samples: Samples | Tensor, name: str, start: int = 0) -> None:
    """Refuses NaN, Inf and a peak beyond 100; `start` is the number of the first sample."""
    peak = max(float(samples.max()), -float(samples.min()))
    if not math.isfinite(peak):
        samples = torch.as_tensor(samples)
        index = int((~samples.isfinite()).nonzero()[0])
        raise AudioError(f"{name} holds {samples[index].item()} at sample {start + index}: every sample must be finite")
    if peak > _MAX_PEAK:
        raise AudioError(f"{name} has a peak of {peak:g}, expected samples in [-1, 1]: divide 16-bit samples by 32768")
