"""Every accepted input as a list of recordings: clips that are read when asked for, whole or in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from semtok.audio.io import (
    SEGMENT_SLACK,
    AudioArray,
    Samples,
    check_sample_rate,
    join_blocks,
    read_blocks,
    read_header,
    resample_blocks,
    to_waveform,
)
from semtok.audio.opening import AudioFile, copy_once, is_file, name_file
from semtok.errors import AudioError

AudioClip: TypeAlias = AudioFile | AudioArray | Mapping[str, Any]
AudioInput: TypeAlias = AudioClip | Sequence[AudioClip]

_ACCEPTED = "a path, a list of paths, an array [samples] or [batch, samples] (numpy or torch), or a list of 1-D arrays"
_ARRAY = (np.ndarray, Tensor)
_READ_SECONDS = 30
# Channels of stereo and of 5.1 sound: as many rows may be one recording.
_CHANNELS = {2: "stereo", 6: "six channels of one recording"}


class Recording(ABC):
    """One clip, in memory or in a file, at the rate that was asked for.

    Attributes:
        name: what an error calls it: the path of a file, the number of a clip in memory.
    """

    name: str

    @property
    def held_bytes(self) -> int:
        """How much of an encoded file is in memory already."""
        return 0

    @property
    @abstractmethod
    def samples(self) -> int:
        """How many samples it has; of a file an estimate, from its header alone.

        Raises:
            AudioError: the header cannot be read.
        """

    @abstractmethod
    def load(self) -> Tensor:
        """The whole clip, mono float32 [samples], on the device of its array (the CPU for files).

        It may share memory with the caller's array, so it must not be changed.

        Raises:
            AudioError: as `load_audio`.
        """

    @abstractmethod
    def blocks(self, seconds: float) -> Iterator[Tensor]:
        """The same samples in consecutive pieces of about so many seconds; a file is never held whole.

        Raises:
            AudioError: as `load`, once the piece is reached.
        """


class FileRecording(Recording):
    """A file of audio, or the part of it that begins at `start` and lasts `duration`.

    Args:
        file: what is read.
        name: what an error calls it.
        sample_rate: of the recording, Hz.
        stated_rate: what the caller says the file's rate is, None if nothing.
        start, duration: in seconds; to the end of the file by default.
    """

    def __init__(
        self,
        file: AudioFile,
        name: str,
        sample_rate: int,
        *,
        stated_rate: int | None = None,
        start: float = 0.0,
        duration: float | None = None,
    ) -> None:
        self.name = name
        self._given = file
        self._stated_rate = stated_rate
        self._sample_rate = sample_rate
        self._start, self._duration = start, duration

    @cached_property
    def _file(self) -> AudioFile:
        return copy_once(self._given, self.name)

    @property
    def held_bytes(self) -> int:
        return len(self._given) if isinstance(self._given, bytes) else 0

    @cached_property
    def samples(self) -> int:
        samples, sample_rate = read_header(self._file, self.name)
        if self._stated_rate not in (None, sample_rate):
            raise AudioError(
                f"{self.name} is at {sample_rate} Hz but sample_rate={self._stated_rate} was given: "
                "leave sample_rate out for files, they say their own rate"
            )
        if self._is_part:
            samples = self._count_samples(samples, sample_rate)
        return resampled_length(samples, sample_rate, self._sample_rate)

    def load(self) -> Tensor:
        return join_blocks(self._read(_READ_SECONDS))

    def blocks(self, seconds: float) -> Iterator[Tensor]:
        yield from map(torch.from_numpy, self._read(seconds))

    @property
    def _is_part(self) -> bool:
        return self._start > 0 or self._duration is not None

    def _read(self, seconds: float) -> Iterator[Samples]:
        if self._stated_rate is not None or self._is_part:
            _ = self.samples  # which is checked there
        return read_blocks(
            self._file,
            self.name,
            sample_rate=self._sample_rate,
            seconds=seconds,
            start=self._start,
            duration=self._duration,
        )

    def _count_samples(self, samples: int, sample_rate: int) -> int:
        """Of the part, at the rate of the file, which has so many."""
        first = round(self._start * sample_rate)
        wanted = samples - first if self._duration is None else round(self._duration * sample_rate)
        if first < 0 or wanted < 1 or first + wanted > samples + SEGMENT_SLACK * sample_rate or first >= samples:
            end = "the end" if self._duration is None else f"{self._start + self._duration:g} s"
            raise AudioError(
                f"{self.name} lasts {samples / sample_rate:g} s: there is no part of it from {self._start:g} s to {end}"
            )
        return min(wanted, samples - first)


class _Array(Recording):
    def __init__(
        self, array: AudioArray, name: str, array_sample_rate: int, sample_rate: int, *, finite: bool = False
    ) -> None:
        self.name = name
        self._waveform = to_waveform(array, name, finite=finite)
        self._rates = array_sample_rate, sample_rate
        if self.samples == 0:
            raise AudioError(
                f"{name} is too short: {len(array)} samples at {array_sample_rate} Hz leave none at {sample_rate} Hz"
            )

    @property
    def samples(self) -> int:
        return resampled_length(len(self._waveform), *self._rates)

    def load(self) -> Tensor:
        pieces = list(self._pieces(len(self._waveform)))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def blocks(self, seconds: float) -> Iterator[Tensor]:
        yield from self._pieces(max(1, round(seconds * self._rates[0])))

    def _pieces(self, samples: int) -> Iterator[Tensor]:
        """Made of so many samples of the array each."""
        pieces = self._waveform.split(samples)
        if self._rates[0] == self._rates[1]:
            yield from pieces
        else:
            blocks = resample_blocks((piece.cpu().numpy() for piece in pieces), *self._rates, name=self.name)
            yield from (torch.from_numpy(block).to(self._waveform.device) for block in blocks)


def open_recordings(
    audio: AudioInput,
    *,
    sample_rate: int | None,
    target_sample_rate: int,
    lengths: Sequence[int] | AudioArray | None = None,
    finite: bool = False,
) -> list[Recording]:
    """Turn every accepted input into a list of recordings at one rate. Arrays are checked here, files when read.

    Args:
        audio: a path, a list of paths, a numpy array or torch tensor [samples] or [batch, samples], or a list of 1-D
            arrays of any lengths; floating point in [-1, 1]. [2, samples] could be stereo and [6, samples] the channels
            of one recording, so they are taken as a batch only together with `lengths`. In place of a path: the
            content of an audio file as bytes, a file open in binary mode, or a row of a column of audio of
            `datasets`, with its array or bytes.
        sample_rate: rate of the arrays in Hz, None if it is `target_sample_rate`. Files and rows say their own rate:
            with them give None or exactly that rate.
        target_sample_rate: rate of the recordings in Hz; audio of another rate is resampled (soxr, quality HQ).
        lengths: samples of each row of a [batch, samples] array, at its own rate; what lies past them is cut off.
        finite: whether the caller answers for the samples of arrays, so that they are not looked at.

    Raises:
        AudioError: integer arrays, other shapes or types, empty arrays, NaN, Inf or a peak beyond 100 in them; arrays
            that are or could be several channels, files and arrays mixed, a rate that contradicts a row's, `lengths`
            that do not fit. What is wrong with a file is said when it is read.
    """
    check_sample_rate(target_sample_rate, "target_sample_rate")
    if sample_rate is not None:
        check_sample_rate(sample_rate, "sample_rate")
    return [
        _Array(clip, f"clip {number}", sample_rate or target_sample_rate, target_sample_rate, finite=finite)
        if isinstance(clip, _ARRAY)
        else _open_recording(clip, f"clip {number}", sample_rate, target_sample_rate)
        for number, clip in enumerate(_split(audio, lengths))
    ]


def _open_recording(clip: Any, name: str, sample_rate: int | None, target_sample_rate: int) -> Recording:
    if _is_decoder(clip):
        decoded = clip.get_all_samples()
        clip = {"array": decoded.data.mean(dim=0), "sampling_rate": decoded.sample_rate}
    if not isinstance(clip, Mapping):
        file_name = name_file(clip)
        file_name = f"{name} {file_name}" if file_name.startswith("<") else file_name
        return FileRecording(clip, file_name, target_sample_rate, stated_rate=sample_rate)
    path = clip.get("path")
    name = f"{name} ({path})" if path else name
    if (array := clip.get("array")) is not None:
        return _open_row(array, clip.get("sampling_rate"), name, sample_rate, target_sample_rate)
    content: Any = path if clip.get("bytes") is None else clip["bytes"]
    if not is_file(content):
        raise AudioError(
            f"{name} is a row with {sorted(map(str, clip))}: "
            "expected array and sampling_rate, or bytes, or a path in it"
        )
    return FileRecording(content, name, target_sample_rate, stated_rate=sample_rate)


def _open_row(array: Any, rate: Any, name: str, sample_rate: int | None, target_sample_rate: int) -> Recording:
    check_sample_rate(rate, f"sampling_rate of {name}")
    if sample_rate not in (None, rate):
        raise AudioError(
            f"{name} is at {rate} Hz but sample_rate={sample_rate} was given: leave sample_rate out for rows"
        )
    if not isinstance(array, _ARRAY):
        try:
            array = np.asarray(array, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise AudioError(f"the array of {name} is a {type(array).__name__}, expected 1-D floating point") from error
    if array.ndim != 1:
        raise AudioError(
            f"the array of {name} has shape {list(array.shape)}, expected [samples]: mix channels by a mean"
        )
    return _Array(array, name, int(rate), target_sample_rate)


def _is_decoder(clip: object) -> bool:
    """Whether it is torchcodec's, which `datasets` gives."""
    return callable(getattr(clip, "get_all_samples", None))


def _split(audio: AudioInput, lengths: Sequence[int] | AudioArray | None) -> Sequence[Any]:
    """Every accepted input as a sequence of clips: files, rows or 1-D arrays."""
    if isinstance(audio, _ARRAY) and audio.ndim == 2:
        return _split_batch(audio, lengths)
    if lengths is not None:
        raise AudioError("lengths go with an array [batch, samples]; cut the clips of any other input yourself")
    if isinstance(audio, np.ndarray) and audio.dtype.kind in "USO":
        raise AudioError(
            f"expected {_ACCEPTED}; got an array of type {audio.dtype}: pass paths as a list, paths.tolist()"
        )
    single = is_file(audio) or isinstance(audio, (*_ARRAY, Mapping)) or not isinstance(audio, Sequence)
    clips: Sequence[Any] = [audio] if single else audio  # type: ignore[assignment]
    if not clips:
        raise AudioError(f"expected {_ACCEPTED}; got an empty {type(audio).__name__}")
    for index, clip in enumerate(clips):
        if isinstance(clip, _ARRAY) and clip.ndim != 1:
            raise AudioError(f"expected {_ACCEPTED}; clip {index} has shape {list(clip.shape)}")
        if not (isinstance(clip, (*_ARRAY, Mapping)) or is_file(clip) or _is_decoder(clip)):
            where = "" if single else f" as clip {index} of a {type(audio).__name__}"
            raise AudioError(f"expected {_ACCEPTED}; got {type(clip).__name__}{where}")
    if len({isinstance(clip, _ARRAY) for clip in clips}) == 2:
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
    if batch in _CHANNELS and lengths is None:
        raise AudioError(
            f"audio of shape {shape} could be {_CHANNELS[batch]}: pass wav.mean(0) for its mono mix; "
            f"for a batch of {batch} clips pass list(wav), or give lengths="
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


def resampled_length(samples: int, sample_rate: int, target: int) -> int:
    """How many samples soxr makes of so many: rounded, halves up."""
    return (2 * samples * target + sample_rate) // (2 * sample_rate)
