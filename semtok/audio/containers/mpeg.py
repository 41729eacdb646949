"""MP3 and its kin: frames, ISO/IEC 11172-3 and 13818-3, and where they stop."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from semtok.audio.containers.parts import Part, Spliced, read_bytes

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
_BLOCK = 1 << 20


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
    """The header in four bytes of a frame; None where they are no header, or one without a fixed bitrate."""
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


def split_mpeg(file: BinaryIO, size: int) -> list[Part]:
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
    header = read_bytes(file, position, position + 10)
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
        block = read_bytes(file, start, min(end, start + _BLOCK))
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
        frame = _parse_frame(read_bytes(file, position, position + 4))
        if frame is None or (streams and frame.stream != streams[0]):
            return False
        streams.append(frame.stream)
        position += frame.length
    return len(streams) == _CHAINED or position == size


def _read_run(file: BinaryIO, start: int, size: int) -> _Run:
    """The frames from `start` on, up to a gap, another stream, or a header for what follows."""
    first = _parse_frame(read_bytes(file, start, start + 4))
    assert first is not None
    name = _xing_offset(first.stream)
    block, block_start = b"", start
    frames, position = 0, start
    while True:
        offset = position - block_start
        if offset + name + 4 > len(block):
            block, block_start, offset = read_bytes(file, position, position + _BLOCK), position, 0
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
    first = _parse_frame(read_bytes(file, start, start + 4))
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
    content = read_bytes(file, start, start + 64)
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
