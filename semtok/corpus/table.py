"""The table of tokens: a row a clip, a column a row of codes, and what a reader needs to know in the file itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semtok.codebooks.codebooks import Codebooks, code_type
from semtok.corpus.run import CorpusRun
from semtok.errors import CorpusError
from semtok.speech.clip import Clip
from semtok.speech.columns import RESERVED, fit
from semtok.support.json import parse_json
from semtok.support.parquet import ParquetReader, damaged, write_parquet

_METADATA = b"semtok"
# Of the columns that every table of tokens has.
_TYPES = (pa.string(), pa.string(), pa.float64(), pa.float64(), pa.int64(), pa.int32())


class EncodedClip(NamedTuple):
    """A clip and its codes, [rows, frames], of so many samples at the tokenizer's rate."""

    clip: Clip
    num_samples: int
    codes: np.ndarray


def shard_path(folder: Path, shard: int) -> Path:
    return folder / "data" / f"part-{shard:05}.parquet"


def schema_of(run: CorpusRun) -> pa.Schema:
    """Columns of the table, and as its metadata what `run.json` says, and the features that `datasets` reads."""
    codes = [
        (name, pa.list_(pa.from_numpy_dtype(code_type(size))))
        for name, size in zip(run.codebooks.columns, run.codebooks.sizes, strict=True)
    ]
    fields = [
        *zip(RESERVED, _TYPES, strict=True),
        *codes,
        *((name, pa.type_for_alias(kind)) for name, kind in run.columns.items()),
    ]
    facts = {**_facts(run), "semtok": run.semtok}
    schema = pa.schema(fields)
    features = {"info": {"features": {field.name: _feature(field.type) for field in schema}}}
    return schema.with_metadata({_METADATA: json.dumps(facts), b"huggingface": json.dumps(features)})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


@contextmanager
def write_shard(folder: Path, run: CorpusRun, shard: int) -> Iterator[Callable[[Sequence[EncodedClip]], None]]:
    """Gives a function that writes the next clips of a shard; the file appears whole, on disk, or not at all."""
    path, schema = shard_path(folder, shard), schema_of(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_parquet(path, schema) as write:
        yield lambda clips: write(_to_table(clips, run, schema))


def _to_table(clips: Sequence[EncodedClip], run: CorpusRun, schema: pa.Schema) -> pa.Table:
    frames = np.array([clip.codes.shape[1] for clip in clips], np.int32)
    offsets = np.concatenate([[0], np.cumsum(frames)]).astype(np.int32)
    columns: dict[str, Any] = {
        "id": [encoded.clip.id for encoded in clips],
        "path": [encoded.clip.path for encoded in clips],
        "start": [encoded.clip.start or 0.0 for encoded in clips],
        "duration": [clip.num_samples / run.sample_rate for clip in clips],
        "num_samples": [clip.num_samples for clip in clips],
        "num_frames": frames,
    }
    for number, (name, size) in enumerate(zip(run.codebooks.columns, run.codebooks.sizes, strict=True)):
        codes = [clip.codes[number].astype(code_type(size)) for clip in clips]
        values = np.concatenate(codes) if codes else np.zeros(0, code_type(size))
        columns[name] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
    for name, kind in run.columns.items():
        columns[name] = [fit(encoded.clip.columns.get(name), kind) for encoded in clips]
    return pa.table(columns, schema=schema)


def shard_is_done(folder: Path, run: CorpusRun, shard: int) -> bool:
    """Whether a shard is there, whole by its footer, with the columns of this run.

    Raises:
        CorpusError: it is of another run.
    """
    path = shard_path(folder, shard)
    try:
        with ParquetReader(path) as file:
            schema, facts = file.schema, _read_facts(file)
    except (FileNotFoundError, CorpusError):
        return False  # a file that was cut while it was copied is made again
    for name, expected in _facts(run).items():
        if facts.get(name) != expected:
            raise CorpusError(
                f"{path} is of another run: its {name} is {facts.get(name)!r}, that of {folder}/run.json {expected!r}. "
                "Put it elsewhere, or give another folder"
            )
    return _fits(schema, schema_of(run))


def _facts(run: CorpusRun) -> dict[str, Any]:
    """What the metadata of a shard says of its run, as JSON gives it back."""
    return {
        "fingerprint": run.fingerprint,
        **{name: list(rows) for name, rows in run.codebooks.entries.items()},
        "frame_rate": run.frame_rate,
        "sample_rate": run.sample_rate,
        "dtype": run.dtype,
        "run": run.digest,
    }


def _read_facts(file: ParquetReader) -> dict[str, Any]:
    facts = parse_json((file.schema.metadata or {}).get(_METADATA, b""), f"the metadata of {file.path}", CorpusError)
    if not isinstance(facts, dict):
        raise damaged(file.path, "its metadata does not say of which run it is")
    return facts


def _fits(schema: pa.Schema, expected: pa.Schema) -> bool:
    """Whether a schema has the columns that are expected, of their types; codes may be whole numbers of any type."""

    def fits(kind: pa.DataType, expected: pa.DataType) -> bool:
        if pa.types.is_list(expected):
            return bool(pa.types.is_list(kind) and pa.types.is_integer(kind.value_type))
        return bool(kind == expected)

    return all(field.name in schema.names and fits(schema.field(field.name).type, field.type) for field in expected)


def check_clips(table: pa.Table, codebooks: Codebooks, path: Path) -> None:
    """Raises `CorpusError` if a table of the shard `path` holds what no tokenizer with these codebooks makes."""
    for name in (*RESERVED, *codebooks.columns):
        if table[name].null_count:
            raise damaged(path, f"column {name} has no value in some rows")
    frames = table["num_frames"].to_numpy()
    for name, size in zip(codebooks.columns, codebooks.sizes, strict=True):
        column = table[name].combine_chunks()
        if not np.array_equal(column.value_lengths().to_numpy(), frames):
            raise damaged(path, f"column {name} has clips of other lengths than num_frames says")
        codes = column.flatten()
        if codes.null_count or (len(codes) and not 0 <= pc.min(codes).as_py() <= pc.max(codes).as_py() < size):
            raise damaged(path, f"column {name} holds other numbers than codes from 0 to {size - 1}")


def read_column(paths: Iterable[Path], name: str) -> pa.ChunkedArray:
    """One of the columns that every table of tokens has, of shards that are done, one after the other."""
    parts = []
    for path in paths:
        with ParquetReader(path) as file:
            parts += [file.read(group, [name])[name] for group in range(len(file.group_rows))]
    chunks = [chunk for part in parts for chunk in part.chunks]
    return pa.chunked_array(chunks, type=_TYPES[RESERVED.index(name)])
