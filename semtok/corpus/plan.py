"""The list of all clips of a corpus, made once, and the part of it that is each shard's."""

from __future__ import annotations

import hashlib
import itertools
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from semtok.errors import AudioError, CorpusError
from semtok.speech.clip import Clip
from semtok.speech.columns import RESERVED, fit
from semtok.speech.sources import Source
from semtok.support.parquet import ParquetReader, damaged, write_parquet

_GROUP_ROWS = 1000
_NAMED = 5


@dataclass(frozen=True)
class Plan:
    """A list of rows on disk.

    Args:
        digest: of all that it says, and so of its name.
        rows: how many.
    """

    digest: str
    rows: int

    def path(self, folder: Path) -> Path:
        return folder / f"plan-{self.digest}.parquet"

    def read(self, folder: Path, start: int, stop: int) -> Iterator[Clip]:
        """Rows `start` ... `stop` - 1 of the plan that lies in a folder.

        Raises:
            CorpusError: it is gone or cannot be read.
        """
        try:
            with ParquetReader(self.path(folder)) as file:
                if sum(file.group_rows) != self.rows or file.schema.names[:4] != list(RESERVED[:4]):
                    raise damaged(self.path(folder), f"it is no list of {self.rows} rows")
                for group in range(start // _GROUP_ROWS, -(-stop // _GROUP_ROWS)):
                    first = group * _GROUP_ROWS
                    table = file.read(group, file.schema.names)
                    yield from map(_to_row, table[max(start - first, 0) : stop - first].to_pylist())
        except OSError as error:
            raise CorpusError(f"cannot read {self.path(folder)}: {error}") from error

    def slice(self, shard: int, num_shards: int) -> tuple[int, int]:
        """First row of a shard and the one after its last: neighbours stay together."""
        return shard * self.rows // num_shards, (shard + 1) * self.rows // num_shards


def write_plan(source: Source, folder: Path) -> Plan:
    """Lists a source into a folder, in memory that grows by eight bytes a row.

    Raises:
        AudioError: the source cannot be read, is empty, or names a column as tables of tokens do.
        CorpusError: two rows have the same id.
    """
    if reserved := sorted(set(source.columns) & {*RESERVED}):
        raise AudioError(f"columns {reserved} are those of the tokens: rename them")
    digest, hashes = hashlib.sha256(json.dumps(dict(source.columns)).encode()), array("Q")
    for record in _records(source):
        digest.update(json.dumps(record).encode())
        hashes.append(id_hash(record["id"]))
    if not hashes:
        raise AudioError("there is no audio: expected at least one clip")
    if twice := repeated(np.frombuffer(hashes, dtype=np.uint64), lambda: (row.id for row in source.rows())):
        raise CorpusError(
            f"{len(twice)} ids occur more than once, such as {', '.join(map(repr, twice[:_NAMED]))}: "
            "each clip needs an id of its own, by default its path and its segment; give a column `id`"
        )
    plan = Plan(digest.hexdigest()[:16], len(hashes))
    if not plan.path(folder).exists():
        folder.mkdir(parents=True, exist_ok=True)
        schema = pa.schema(
            [("id", pa.string()), ("path", pa.string()), ("start", pa.float64()), ("duration", pa.float64())]
            + [(name, pa.type_for_alias(kind)) for name, kind in source.columns.items()]
        )
        records = _records(source)
        with write_parquet(plan.path(folder), schema) as write:
            while group := list(itertools.islice(records, _GROUP_ROWS)):
                write(pa.Table.from_pylist(group, schema))
    return plan


def _records(source: Source) -> Iterator[dict[str, Any]]:
    for row in source.rows():
        passed = {name: fit(row.columns.get(name), kind) for name, kind in source.columns.items()}
        yield {"id": row.id, "path": row.path, "start": row.start, "duration": row.duration, **passed}


def _to_row(record: dict[str, Any]) -> Clip:
    named = {name: record.pop(name) for name in RESERVED[:4]}
    return Clip(**named, columns=record)


def id_hash(name: str) -> int:
    """Eight bytes that tell an id from others, but for a chance of one in ten thousand in a corpus of 40 million."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def repeated(hashes: np.ndarray, names: Callable[[], Iterable[str]]) -> list[str]:
    """Those of many names that occur more than once, by the `id_hash` of each; `names` gives all, where it is asked."""
    values, counts = np.unique(hashes, return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return []
    times = Counter(name for name in names() if id_hash(name) in suspects)
    return [name for name, count in times.items() if count > 1]
