"""What a file's container says of its audio, where libsndfile would end early and say nothing.

libsndfile reads the first stream of several in an Ogg file, an MP3 up to a length that it estimates, and of a WAV whose
recorder was killed nothing. Here such files are cut into parts, each of which it reads whole.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shlex
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from semtok.errors import AudioError

# Sizes that recorders write while they do not know the length: 0xFFFFFFFF, 0x7FFFF000, 0x7F000008 and so on.
_UNKNOWN = 0x7F000000
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")
# Bytes after the audio that no chunk explains: fewer are left-overs of a tag or of a disk's block.
_UNEXPLAINED = 4096
_BLOCK = 1 << 20
# Bytes that a decoder of FLAC reads ahead, at most.
_FLAC_AHEAD = 1 << 15

_FOREIGN = {
    b"\x1aE\xdf\xa3": "WebM or Matroska",
    b"\x30\x26\xb2\x75": "Windows Media (WMA)",
    b"#!AMR": "AMR",
    b"ADIF": "AAC",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
    b"FLV": "Flash video",
    b"\x0b\x77": "AC-3",
    b"ajkg": "Shorten",
    b"OggS": "Ogg of another kind than Vorbis and Opus, such as FLAC or Speex",
}

_BITRATES = {  # kbit/s, from index 1; ISO/IEC 11172-3 and 13818-3, by (MPEG-1, layer)
    (True, 1): range(32, 449, 32),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version: 1, 2, 2.5
# A frame is believed where so many follow each other at the distances that they say.
_CHAINED = 4
# Where the first of them may begin, after a tag.
_BEGINNING = 1 << 16
# Frames that libsndfile is to expect beyond the last one.
_SPARE = 4


class Part(NamedTuple):
    """A piece of a file that libsndfile reads whole.

    Args:
        file: that piece alone, at its start.
        samples: of a channel, where the container was searched for them; else what libsndfile says holds.
    """

    file: Spliced
    samples: int | None = None


class Spliced(io.RawIOBase):
    """A file of its own, to read: some bytes, then bytes `start` to `end` of another file.

    It may state more bytes than it has, for a decoder that estimates a length from them.
    """

    def __init__(self, file: BinaryIO, start: int, end: int, *, head: bytes = b"", stated: int = 0) -> None:
        self._file, self._head, self._position = file, head, 0
        self._offset, self._size = start - len(head), len(head) + end - start
        self._stated = max(stated, self._size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = offset + (0, self._position, self._stated)[whence]
        if position >= 0:  # a decoder may look for a tag before the start of a small file
            self._position = position
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = self._size if self._position <= self._size else self._stated
        count = min(len(buffer), max(0, end - self._position))
        if self._position > self._size:  # only who looks for a tag at the stated end comes here
            content = bytes(count)
        elif self._position < len(self._head):
            content = self._head[self._position : self._position + count]
        else:
            self._file.seek(self._offset + self._position)
            content = self._file.read(count)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def split(file: BinaryIO, name: str) -> list[Part]:
    """The parts of an open file, one after the other; a single one, the file itself, where nothing is wrong with it.

    Raises:
        AudioError: the file was cut, or holds bytes after its audio that nothing explains; `name` is what it calls it.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic = file.read(4)
    if magic == b"OggS":
        parts = _split_ogg(file, size, name)
    elif magic in (b"RIFF", b"RF64", b"FORM", b"riff", b".snd", b"NIST"):
        parts = _check_size(file, size, magic, name)
    elif magic in (b"fLaC", b"caff"):
        parts = []
    else:
        parts = _split_mpeg(file, size)
    return parts or [Part(Spliced(file, 0, size))]


def flac_follows(file: Spliced) -> bool:
    """Whether a second FLAC stream begins about where the decoder of the first one stopped to read."""
    file.seek(max(4, file.tell() - _FLAC_AHEAD))
    return b"fLaC\x00\x00\x00\x22" in file.read(2 * _FLAC_AHEAD)


def convert_command(name: str, *options: str) -> str:
    """The command that makes a WAV of a file."""
    return shlex.join(["ffmpeg", "-i", _argument(name), *options, "converted.wav"])


def _argument(name: str) -> str:
    return name if Path(name).exists() else "INPUT"


def foreign_format(head: bytes) -> str | None:
    """Which format that libsndfile does not read begins with these bytes."""
    if head[4:8] == b"ftyp":
        return "MP4 (M4A, AAC)"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC"
    return next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), None)


# --- sizes in a header: WAV, RF64, AIFF, Wave64, AU, SPHERE


def _check_size(file: BinaryIO, size: int, magic: bytes, name: str) -> list[Part]:
    """Nothing where the header tells the truth; the file with another header where it does not know the size."""
    if magic in (b"RIFF", b"RF64"):
        return _check_riff(file, size, name, long=magic == b"RF64")
    file.seek(0)
    head = file.read(min(size, 1 << 16))
    if magic == b".snd":
        start, stated = struct.unpack_from(">II", head.ljust(12, b"\0"), 4)
        if stated == 0 < size - start:
            return [Part(Spliced(file, 12, size, head=head[:8] + b"\xff" * 4))]
    elif magic == b"NIST":
        sizes = [
            re.search(rf"^{field}\s+-i\s+(\d+)".encode(), head, re.MULTILINE)
            for field in ("sample_count", "channel_count", "sample_n_bytes")
        ]
        length = re.match(rb"NIST_1A\s+(\d+)", head)
        if length is None or not all(sizes):
            return []
        start = int(length[1])
        stated = 1
        for number in sizes:
            stated *= int(number[1]) if number else 1
    else:
        form, large = (">4sI", False) if magic == b"FORM" else ("<16sq", True)
        chunks = _chunks(file, form, 40 if large else 12, size)
        sound = next((chunk for chunk in chunks if chunk[1][:4] in (b"SSND", b"data")), None)
        if sound is None:
            return []
        start, _, stated = sound
    _check_not_cut(stated, size - start, name)
    return []


def _check_riff(file: BinaryIO, size: int, name: str, *, long: bool) -> list[Part]:
    whole = 8 + int.from_bytes(_read(file, 4, 8), "little")
    chunks = {chunk: (start, stated) for start, chunk, stated in _chunks(file, "<4sI", 12, size, last=b"data")}
    if b"data" not in chunks:
        return []
    start, stated = chunks[b"data"]
    available = size - start
    if long and b"ds64" in chunks and stated == 0xFFFFFFFF:
        sizes = chunks[b"ds64"][0]
        stated = int.from_bytes(_read(file, sizes + 8, sizes + 16), "little")
        if stated == 0 < available or stated >= 1 << 62:
            head = _read(file, 0, sizes + 8) + struct.pack("<Q", available) + _read(file, sizes + 16, start)
            return [Part(Spliced(file, start, size, head=head))]
    elif stated == 0 and available > 0 and whole < size:
        # the recorder was killed before it wrote the sizes; an empty WAV with a chunk after its data has the right one
        head = _read(file, 0, start - 4) + struct.pack("<I", min(available, 0xFFFFFFFF))
        return [Part(Spliced(file, start, size, head=head))]
    elif stated >= _UNKNOWN and stated > available:
        return []
    _check_not_cut(stated, available, name)
    _check_rest(file, start + stated, size, name)
    return []


def _chunks(
    file: BinaryIO, form: str, position: int, size: int, *, last: bytes = b""
) -> Iterator[tuple[int, bytes, int]]:
    """Where the content of each chunk starts, the chunk's name and the size that it states, up to the one named."""
    header = struct.calcsize(form)
    while position + header <= size:
        name, stated = struct.unpack(form, _read(file, position, position + header))
        if header == 24:  # of Wave64, whose sizes have the header in them and go on at multiples of 8
            yield position + header, name, stated - header if 0 <= stated < 1 << 62 else 0xFFFFFFFF
            position += max(stated, header) + -stated % 8
        else:
            yield position + header, name, stated
            position += header + stated + stated % 2
        if name == last:
            return


def _check_not_cut(stated: int, available: int, name: str) -> None:
    if available < stated and (stated < _UNKNOWN or _UNKNOWN < available < stated < 0xFFFFFFF0):
        raise AudioError(
            f"{name} was cut: its header speaks of {stated} bytes of audio, it holds {max(available, 0)}. "
            f"Fetch it again, or take what is there: {convert_command(name)}"
        )


def _check_rest(file: BinaryIO, position: int, size: int, name: str) -> None:
    """Chunks, a tag or a few odd bytes may follow the audio of a WAV; more audio may not."""
    position += position % 2
    while size - position > _UNEXPLAINED:
        header = _read(file, position, position + 8)
        chunk, stated = struct.unpack("<4sI", header)
        if header.startswith(_TAGS):
            return
        if not re.fullmatch(rb"[ -~]{4}", chunk) or chunk in (b"RIFF", b"RF64") or position + 8 + stated > size + 1:
            if not any(_read(file, position, min(size, position + _BLOCK))):
                return
            mend = shlex.join(["sox", "--ignore-length", _argument(name), "mended.wav"])
            raise AudioError(
                f"{name} holds {size - position} bytes after its audio that its header knows nothing of. If they are "
                f"audio too, mend it: {mend}; else: {convert_command(name)}"
            )
        position += 8 + stated + stated % 2


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


# --- Ogg: pages, RFC 3533


def _split_ogg(file: BinaryIO, size: int, name: str) -> list[Part]:
    """One part a link of a chain: streams that follow each other, each with its own headers."""
    starts, begun, position = [], False, 0
    while position < size:
        header = _read(file, position, position + 27)
        length = len(header)
        if length == 27 and header.startswith(b"OggS"):
            segments = file.read(header[26])
            length += len(segments) + sum(segments)
        if not header.startswith(b"OggS"[: len(header)]):
            break  # libsndfile looks for the next page, and what is lost shows in the samples read
        if position + length > size or len(header) < 27:
            raise AudioError(
                f"{name} was cut: it ends within a page of Ogg, at byte {size}. "
                f"Fetch it again, or take what is there: {convert_command(name)}"
            )
        first = bool(header[5] & 2)
        if first and not begun:
            starts.append(position)
        begun = first
        position += length
    if len(starts) < 2:
        return []
    return [Part(Spliced(file, start, end)) for start, end in zip(starts, [*starts[1:], size], strict=True)]


# --- MP3 and its kin: frames, ISO/IEC 11172-3


class _Frame(NamedTuple):
    """What the header of an MPEG audio frame says.

    Args:
        length: bytes.
        samples: of a channel.
        stream: version, layer, Hz and whether it is mono, which all frames of a stream share.
    """

    length: int
    samples: int
    stream: tuple[int, int, int, bool]


class _Run(NamedTuple):
    """Frames of one stream without a gap, in bytes `start` to `end` of a file."""

    start: int
    end: int
    frames: int
    first: _Frame


class _Xing(NamedTuple):
    """What a first frame without audio says of all others: frames and bytes, 0 where it does not say."""

    frames: int
    length: int


@functools.lru_cache(maxsize=4096)
def _parse_frame(header: bytes) -> _Frame | None:
    """The four bytes of a frame's header; None if they are none, or those of the rare free format."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)  # 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    hertz = _MPEG_RATES[version][rate]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    slot = 4 if layer == 1 else 1
    length = (samples // 8 // slot * _BITRATES[version == 3, layer][bitrate - 1] * 1000 // hertz + padding) * slot
    return _Frame(length, samples, (version, layer, hertz, header[3] >> 6 == 3))


def _split_mpeg(file: BinaryIO, size: int) -> list[Part]:
    """One part a run of frames.

    A file whose own header is right is not searched frame by frame.
    """
    start = _find_frames(file, _skip_id3(file, 0), size, within=_BEGINNING)
    if start is None:
        return []
    xing = _read_xing(file, start)
    if xing and xing.frames and xing.length:
        end = start + xing.length
        if _find_frames(file, _skip_id3(file, end), size, within=size) is None:
            return []
    parts: list[Part] = []
    while start is not None:
        run = _read_run(file, start, size)
        parts += _mpeg_parts(file, run)
        start = _find_frames(file, _skip_id3(file, run.end), size, within=size)
    return parts


def _skip_id3(file: BinaryIO, position: int) -> int:
    """Where an ID3v2 tag at `position` ends; `position` if there is none."""
    header = _read(file, position, position + 10)
    if not header.startswith(b"ID3") or len(header) < 10:
        return position
    size = 0
    for byte in header[6:]:
        size = size << 7 | byte & 0x7F
    return position + 10 + size + (10 if header[5] & 0x10 else 0)


def _find_frames(file: BinaryIO, start: int, size: int, *, within: int) -> int | None:
    """Where the next frames begin, in so many bytes: several in a chain, or up to the end of the file."""
    end = min(size, start + within)
    while start < end:
        block = _read(file, start, min(end, start + _BLOCK))
        offset = block.find(b"\xff")
        while offset >= 0:
            if _is_chain(file, start + offset, size):
                return start + offset
            offset = block.find(b"\xff", offset + 1)
        start += len(block)
    return None


def _is_chain(file: BinaryIO, position: int, size: int) -> bool:
    streams: list[tuple[int, int, int, bool]] = []
    while len(streams) < _CHAINED and position < size:
        frame = _parse_frame(_read(file, position, position + 4))
        if frame is None or (streams and frame.stream != streams[0]):
            return False
        streams.append(frame.stream)
        position += frame.length
    return len(streams) == _CHAINED or position == size


def _read_run(file: BinaryIO, start: int, size: int) -> _Run:
    """The frames from `start` on, up to a gap, another stream, or a header for what follows."""
    first = _parse_frame(_read(file, start, start + 4))
    assert first is not None
    name = _xing_offset(first.stream)
    block, block_start = b"", start
    frames, position = 0, start
    while True:
        offset = position - block_start
        if offset + name + 4 > len(block):
            block, block_start, offset = _read(file, position, position + _BLOCK), position, 0
        frame = _parse_frame(block[offset : offset + 4])
        if frame is None or frame.stream != first.stream or position + frame.length > size:
            break
        if frames and block[offset + name : offset + name + 4] in (b"Xing", b"Info"):
            break
        frames, position = frames + 1, position + frame.length
    return _Run(start, position, frames, first)


def _mpeg_parts(file: BinaryIO, run: _Run) -> Iterator[Part]:
    start, frames, xing = run.start, run.frames, _read_xing(file, run.start)
    if xing is not None:
        start, frames = start + run.first.length, frames - 1
    if frames == 0:
        return
    first = _parse_frame(_read(file, start, start + 4))
    assert first is not None
    if xing is not None and xing.frames >= frames:  # if more, what was read will show it
        yield Part(Spliced(file, run.start, run.end))
        return
    # libsndfile estimates the frames as if all were as long as the first one, and reads no more
    stated = (frames + _SPARE) * (first.length + 1)
    yield Part(Spliced(file, start, run.end, stated=stated), frames * first.samples)


def _xing_offset(stream: tuple[int, int, int, bool]) -> int:
    """Where the name of a Xing header stands in its frame: after the side information."""
    version, _, _, mono = stream
    return 4 + ((17 if mono else 32) if version == 3 else (9 if mono else 17))


def _read_xing(file: BinaryIO, start: int) -> _Xing | None:
    """What the frame there says, if it is a Xing (Info) header or Fraunhofer's VBRI."""
    content = _read(file, start, start + 64)
    frame = _parse_frame(content[:4])
    if frame is None or frame.stream[1] != 3:
        return None
    if content[36:40] == b"VBRI":
        return _Xing(0, 0)
    offset = _xing_offset(frame.stream)
    name, flags, first, second = struct.unpack_from(">4sIII", content, offset)
    if name not in (b"Xing", b"Info"):
        return None
    return _Xing(first if flags & 1 else 0, (second if flags & 1 else first) if flags & 2 else 0)
