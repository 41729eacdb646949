"""Parquet files that appear whole, and of which no byte can change without a reader's notice.

Parquet's own checksums are of pages. They leave out the headers of pages and the footer, and few readers look at them.
So the footer's metadata also holds, under `semtok.crc32`, the CRC-32 of the footer, in which these eight digits count
as zeros, and then the CRC-32 of each column in each row group. Other readers pass over this entry. A file without it is
read too, unchecked.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from semtok.errors import CorpusError
from semtok.support.atomic import atomic_write

_KEY, _MARK = "semtok.crc32", b"semtok-crc32:"
_MAGIC = b"PAR1"
_HEX = 8
_SUMS = re.compile(_MARK + rb"((?:[0-9a-f]{8})+)")
# After the footer come four bytes with its length, and the magic.
_END = 8
# What pyarrow raises for damaged files.
_DAMAGE = (OSError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError, pa.ArrowException)


@contextmanager
def write_parquet(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Gives a function that appends a table as a row group; the file is there, and on the disk, when the block ends.

    Args:
        path: of the file.
        schema: of all tables; each column is of plain values or of lists of them.
    """
    groups = 0
    with atomic_write(path) as aside, aside.open("w+b") as file:
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:

            def write(table: pa.Table) -> None:
                nonlocal groups
                if len(table):
                    writer.write_table(table, row_group_size=len(table))
                    groups += 1

            yield write
            empty = _MARK.decode() + "0" * _HEX * (1 + groups * len(schema))
            writer.add_key_value_metadata({_KEY: empty})
        _seal(file, groups, len(schema))
        file.flush()
        os.fsync(file.fileno())


class ParquetReader:
    """An open file of `write_parquet`, or any Parquet file; a context.

    Attributes:
        path: of the file.
        schema: its columns and metadata.
        group_rows: rows of each row group.
        has_checksums: whether all bytes are checked as they are read.

    Raises:
        FileNotFoundError: there is no such file.
        CorpusError: the footer is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._sums = _check_footer(file, path)
        self.has_checksums = self._sums is not None
        with self._damage():
            self._file = pq.ParquetFile(path)
            self.schema = self._file.schema_arrow
            groups = range(self._file.num_row_groups)
            self.group_rows = [self._file.metadata.row_group(group).num_rows for group in groups]
            if self._sums is not None and len(self._sums) != len(groups) * len(self.schema):
                raise ValueError("it has other row groups than checksums")

    def __enter__(self) -> ParquetReader:
        return self

    def __exit__(self, *failure: Any) -> None:
        self._file.close()

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Columns of a row group, in this order.

        Raises:
            CorpusError: they are damaged, or there are none of these names.
        """
        with self._damage():
            if missing := sorted(set(columns) - set(self.schema.names)):
                raise ValueError(f"it has no columns {missing}")
            if self._sums is not None:
                self._check(group, columns)
            return self._file.read_row_group(group, columns=list(columns)).select(list(columns))

    def bounds(self, group: int, column: str) -> tuple[Any, Any] | None:
        """The least and the greatest value of a column in a row group, where the footer has them."""
        statistics = self._file.metadata.row_group(group).column(self.schema.names.index(column)).statistics
        return (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None

    def _check(self, group: int, columns: Sequence[str]) -> None:
        assert self._sums is not None
        with self.path.open("rb") as file:
            for column in columns:
                number = self.schema.names.index(column)
                if _sum(file, self._file.metadata, group, number) != self._sums[group * len(self.schema) + number]:
                    raise ValueError(f"column {column} of row group {group} has other bytes than were written")

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise damaged(self.path, error) from error


def damaged(path: Path, reason: object) -> CorpusError:
    """The error for a file that does not hold what it should."""
    return CorpusError(f"{path} is damaged: {reason}. Remove it and run again, and it is made anew")


def _sum(file: IO[bytes], metadata: pq.FileMetaData, group: int, column: int) -> bytes:
    """CRC-32, in hexadecimal digits, of the bytes of a column in a row group."""
    chunk = metadata.row_group(group).column(column)
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    file.seek(start)
    return _hex(file.read(chunk.total_compressed_size))


def _hex(content: bytes | bytearray) -> bytes:
    return f"{zlib.crc32(content):08x}".encode()


def _seal(file: IO[bytes], groups: int, columns: int) -> None:
    """Puts the checksums in the place of the zeros that were written for them."""
    metadata = pq.read_metadata(file)
    chunks = [_sum(file, metadata, group, column) for group in range(groups) for column in range(columns)]
    footer = _read_footer(file)
    start = footer.rindex(_MARK) + len(_MARK)
    footer[start + _HEX : start + _HEX * (1 + len(chunks))] = b"".join(chunks)
    footer[start : start + _HEX] = _hex(footer)
    file.seek(-len(footer), os.SEEK_END)
    file.write(footer)


def _check_footer(file: IO[bytes], path: Path) -> list[bytes] | None:
    """Raises `CorpusError` for a damaged footer; the checksums of columns that it holds, None if it holds none."""
    try:
        footer = _read_footer(file)
        if (mark := footer.rfind(_MARK)) < 0 and _KEY.encode() not in footer:
            return None
        if mark < 0 or (sums := _SUMS.match(footer, mark)) is None:
            raise ValueError("its checksums cannot be read")
        start = sums.start(1)
        written = bytes(footer[start : start + _HEX])
        footer[start : start + _HEX] = b"0" * _HEX
        if _hex(footer) != written:
            raise ValueError("its footer has other bytes than were written")
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    chunks = sums[1][_HEX:]
    return [chunks[place : place + _HEX] for place in range(0, len(chunks), _HEX)]


def _read_footer(file: IO[bytes]) -> bytearray:
    """The footer with its length and the magic; `ValueError` if the file has none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    beginning = file.read(len(_MAGIC))
    file.seek(max(size - _END, 0))
    end = file.read(_END)
    length = int.from_bytes(end[: -len(_MAGIC)], "little") + _END
    if beginning != _MAGIC or not end.endswith(_MAGIC) or length + len(_MAGIC) > size:
        raise ValueError("it is no whole Parquet file")
    file.seek(-length, os.SEEK_END)
    return bytearray(file.read(length))
