"""Every accepted input as a list of recordings: clips that are read when asked for, whole or in blocks."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from semtok.audio.io import (
    AudioArray,
    AudioPath,
    check_path,
    check_sample_rate,
    load_audio,
    read_blocks,
    read_header,
    resample_blocks,
    to_waveform,
)
from semtok.errors import AudioError

AudioInput: TypeAlias = AudioPath | AudioArray | Sequence[AudioPath] | Sequence[AudioArray]

_ACCEPTED = "a path, a list of paths, an array [samples] or [batch, samples] (numpy or torch), or a list of 1-D arrays"
_ARRAY = (np.ndarray, Tensor)
_PATH = (str, os.PathLike)


class Recording(ABC):
    """One clip, in memory or in a file, at the rate that was asked for.

    Attributes:
        name: what an error calls it: the path of a file, the number of a clip in memory.
    """

    name: str

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


class _File(Recording):
    def __init__(self, path: Path, sample_rate: int) -> None:
        self.name = str(path)
        self._path = path
        self._sample_rate = sample_rate

    @cached_property
    def samples(self) -> int:
        samples, sample_rate = read_header(self._path)
        return _resampled_length(samples, sample_rate, self._sample_rate)

    def load(self) -> Tensor:
        return load_audio(self._path, sample_rate=self._sample_rate)

    def blocks(self, seconds: float) -> Iterator[Tensor]:
        yield from map(torch.from_numpy, read_blocks(self._path, sample_rate=self._sample_rate, seconds=seconds))


class _Array(Recording):
    def __init__(self, array: AudioArray, name: str, array_sample_rate: int, sample_rate: int) -> None:
        self.name = name
        self._waveform = to_waveform(array, name)
        self._rates = array_sample_rate, sample_rate
        if self.samples == 0:
            raise AudioError(
                f"{name} is too short: {len(array)} samples at {array_sample_rate} Hz leave none at {sample_rate} Hz"
            )

    @property
    def samples(self) -> int:
        return _resampled_length(len(self._waveform), *self._rates)

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
) -> list[Recording]:
    """Turn every accepted input into a list of recordings at one rate. Arrays are checked here, files when read.

    Args:
        audio: a path, a list of paths, a numpy array or torch tensor [samples] or [batch, samples], or a list of 1-D
            arrays of any lengths; floating point in [-1, 1]. [2, samples] could be stereo as well as a batch of two,
            so it is taken as a batch only together with `lengths`.
        sample_rate: rate of the arrays in Hz, None if it is `target_sample_rate`. Files say their own rate: with paths
            give None or exactly that rate.
        target_sample_rate: rate of the recordings in Hz; audio of another rate is resampled (soxr, quality HQ).
        lengths: samples of each row of a [batch, samples] array, at its own rate; what lies past them is cut off.

    Raises:
        AudioError: a missing file or a folder; integer arrays, other shapes or types, empty arrays, NaN, Inf or a peak
            beyond 100 in them; arrays that are or could be stereo, paths and arrays mixed, a rate that contradicts the
            file's, `lengths` that do not fit.
    """
    check_sample_rate(target_sample_rate, "target_sample_rate")
    if sample_rate is not None:
        check_sample_rate(sample_rate, "sample_rate")
    recordings: list[Recording] = []
    for number, clip in enumerate(_split(audio, lengths)):
        if isinstance(clip, _ARRAY):
            rate = target_sample_rate if sample_rate is None else sample_rate
            recordings.append(_Array(clip, f"clip {number}", rate, target_sample_rate))
        else:
            path = check_path(clip)
            if sample_rate is not None and (own := read_header(path)[1]) != sample_rate:
                raise AudioError(
                    f"{path} is at {own} Hz but sample_rate={sample_rate} was given: "
                    "leave sample_rate out for files, they say their own rate"
                )
            recordings.append(_File(path, target_sample_rate))
    return recordings


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


def _resampled_length(samples: int, sample_rate: int, target: int) -> int:
    """How many samples soxr makes of so many: rounded, halves up."""
    return (2 * samples * target + sample_rate) // (2 * sample_rate)
