"""Microphones and loudspeakers, and pipes in their place.

Pipes carry raw samples, 16 bits, little endian, one channel. Devices are those of PortAudio by the library
sounddevice, which the extra `live` installs.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from semtok.errors import AudioError, needs_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

_CONTAINERS = {b"RIFF": "a WAV file", b"fLaC": "a FLAC file", b"OggS": "an Ogg file"}
# A device that gave nothing for so long counts as gone: those that are there give silence at least.
_SILENT_SECONDS = 5.0
# What may wait to be computed; beyond it, waiting would only grow.
_BEHIND_SECONDS = 30.0
# How long samples are counted before their rate is compared with the clock, and how far it may be off.
_CLOCK_SECONDS, _CLOCK_TOLERANCE = 10.0, 0.1


class Sink(Protocol):
    """Plays samples, one after another.

    Attributes:
        gaps: how often it had nothing to play.
    """

    gaps: int

    def play(self, samples: Samples) -> None:
        """Takes float32 [samples] in [-1, 1], to be heard after those before."""


class PipeSink:
    """Writes raw samples to a file."""

    gaps = 0

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def play(self, samples: Samples) -> None:
        self._file.write((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
        self._file.flush()


def read_pipe(file: BinaryIO, block: int) -> Iterator[Samples]:
    """Blocks float32 [samples <= block] of raw samples, until the file ends.

    Raises:
        AudioError: the file begins as one of WAV, FLAC or Ogg does, or ends within a sample.
    """
    first = True
    # `read` of a pipe waits for all that was asked for, and gives less at the end alone.
    while data := file.read(2 * block):
        if first and (container := _CONTAINERS.get(data[:4])):
            raise AudioError(
                f"this is {container}, expected raw samples, 16 bits, little endian, one channel: for instance "
                "ffmpeg -i FILE -f s16le -ac 1 -ar 16000 - | semtok live -"
            )
        first = False
        yield np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / np.float32(32768)
        if len(data) % 2:
            raise AudioError("the input ends within a sample: expected raw samples of 16 bits, two bytes each")


@contextmanager
def open_microphone(device: str | None, sample_rate: int, block: int) -> Iterator[Iterator[Samples]]:
    """Blocks float32 [block] of a device, by its name or number, the system's own by default.

    Raises:
        AudioError: there is no such device, or not at this rate; and while blocks are read: the device gives nothing
            any more, lost samples, gives them at another rate, or more than can be computed.
        SemtokError: the extra is not installed.
    """
    sounddevice = _sounddevice()
    blocks: queue.Queue[Samples | str] = queue.Queue()

    def store(data: Samples, frames: int, time: Any, status: Any) -> None:
        if status.input_overflow:
            blocks.put("lost samples, as this machine was too busy to fetch them")
        blocks.put(data[:, 0].copy())

    with _as_audio_error(sounddevice, f"microphone {device or 'of the system'} at {sample_rate} Hz"):
        stream = sounddevice.InputStream(
            samplerate=sample_rate, blocksize=block, device=_number(device), channels=1, dtype="float32", callback=store
        )
    with stream:
        yield _watch(blocks, sample_rate, block)


def _watch(blocks: queue.Queue[Samples | str], sample_rate: int, block: int) -> Iterator[Samples]:
    """The blocks that a callback puts into a queue, as long as they come as they should."""
    start, fetched = monotonic(), -blocks.qsize() * block
    while True:
        try:
            data = blocks.get(timeout=_SILENT_SECONDS)
        except queue.Empty:
            raise AudioError(
                f"the microphone gave nothing for {_SILENT_SECONDS:.0f} s: is it still connected?"
            ) from None
        if isinstance(data, str):
            raise AudioError(f"the microphone {data}: longer --block, fewer --layers or a faster machine help")
        waiting = blocks.qsize() * block / sample_rate
        if waiting > _BEHIND_SECONDS:
            raise AudioError(
                f"{waiting:.0f} s of speech wait to be computed: this machine is too slow for these settings; longer "
                "--block and fewer --layers help"
            )
        fetched += len(data)
        passed = monotonic() - start
        if passed >= _CLOCK_SECONDS:
            speed = (fetched / sample_rate + waiting) / passed
            if abs(speed - 1) > _CLOCK_TOLERANCE:
                raise AudioError(
                    f"the microphone gives {speed * sample_rate:.0f} samples a second, expected {sample_rate}: its "
                    "rate has changed; begin anew, with --sample-rate"
                )
            start, fetched = start + passed, -round(waiting * sample_rate)
        yield data


class _Loudspeaker:
    def __init__(self, sounddevice: Any, stream: Any, name: str) -> None:
        self._sounddevice, self._stream, self._name = sounddevice, stream, name
        self.gaps = 0

    def play(self, samples: Samples) -> None:
        with _as_audio_error(self._sounddevice, self._name):
            self.gaps += bool(self._stream.write(samples[:, None]))


@contextmanager
def open_loudspeaker(device: str | None, sample_rate: int) -> Iterator[Sink]:
    """Plays on a device, by its name or number, the system's own by default; errors as of `open_microphone`."""
    sounddevice = _sounddevice()
    name = f"loudspeaker {device or 'of the system'} at {sample_rate} Hz"
    with _as_audio_error(sounddevice, name):
        stream = sounddevice.OutputStream(samplerate=sample_rate, device=_number(device), channels=1, dtype="float32")
    with stream:
        yield _Loudspeaker(sounddevice, stream, name)


def _sounddevice() -> Any:
    with needs_extra("live"):
        try:
            import sounddevice
        except OSError as error:
            raise AudioError(
                f"sounddevice needs the library PortAudio, which is not there ({error}): install it, on Debian and "
                "Ubuntu by apt install libportaudio2; or use pipes, semtok live - -o -"
            ) from error
    return sounddevice


def _number(device: str | None) -> str | int | None:
    return int(device) if device is not None and device.isdigit() else device


@contextmanager
def _as_audio_error(sounddevice: Any, what: str) -> Iterator[None]:
    """PortAudio's errors, and those of names that it does not know, as `AudioError`."""
    try:
        yield
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(
            f"{what}: {error}; is it connected? `python -m sounddevice` lists devices, and another --sample-rate may do"
        ) from error
