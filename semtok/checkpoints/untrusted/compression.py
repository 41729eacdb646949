"""The compressions that joblib writes, undone within a bound."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Protocol

from semtok.checkpoints.untrusted.source import MAX_BYTES
from semtok.errors import CheckpointError

_LZMA_MEMORY = 1 << 28


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decompressed(data: bytes) -> bytes:
    """What a joblib file holds, decompressed if it is compressed, by its first bytes and not by its name.

    Raises:
        CheckpointError: the compressed data are damaged or truncated, unpack to more than `MAX_BYTES`, or need a
            package that is not installed.
    """
    if data.startswith(b"ZF"):
        # joblib before 0.10: the length in hexadecimal fills 19 characters, and in some versions a space follows.
        data = data[21:].removeprefix(b" ")
    decompressor = _decompressor(data)
    if decompressor is None:
        return data
    try:
        content = decompressor.decompress(data, MAX_BYTES + 1)
    # lz4 raises RuntimeError.
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the compressed data are damaged: {error}; fetch the file again") from error
    if len(content) > MAX_BYTES:
        raise CheckpointError(f"it unpacks to more than {MAX_BYTES} bytes: it may be hostile")
    if not decompressor.eof:
        raise CheckpointError(f"the compressed data end too early, after {len(data)} bytes; fetch the file again")
    return content


def _decompressor(data: bytes) -> _Decompressor | None:
    if data.startswith((b"\x78", b"\x1f\x8b")):
        return zlib.decompressobj(zlib.MAX_WBITS + 32)  # zlib or gzip, by the header
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if data.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    if data.startswith(b"\x04\x22\x4d\x18"):
        try:
            from lz4.frame import LZ4FrameDecompressor
        except ImportError as error:
            raise CheckpointError("it is compressed by lz4, which needs a package more: pip install lz4") from error
        decompressor: _Decompressor = LZ4FrameDecompressor()
        return decompressor
    return None
