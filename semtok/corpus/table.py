"""The table of tokens: a row a clip, a column a row of codes, and what a reader needs to know in the file itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semtok.codebooks.codebooks import code_type
from semtok.corpus.run import CorpusRun
from semtok.errors import CorpusError
from semtok.speech.clip import Clip
from semtok.speech.columns import fit
from semtok.support.atomic import atomic_write

_METADATA = b"semtok"


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
        ("id", pa.string()),
        ("path", pa.string()),
        ("start", pa.float64()),
        ("duration", pa.float64()),
        ("num_samples", pa.int64()),
        ("num_frames", pa.int32()),
        *codes,
        *((name, pa.type_for_alias(kind)) for name, kind in run.columns.items()),
    ]
    facts = {
        "run": run.digest,
        "fingerprint": run.fingerprint,
        **run.codebooks.entries,
        "frame_rate": run.frame_rate,
        "sample_rate": run.sample_rate,
        "dtype": run.dtype,
        "semtok": run.semtok,
    }
    schema = pa.schema(fields)
    features = {"info": {"features": {field.name: _feature(field.type) for field in schema}}}
    return schema.with_metadata({_METADATA: json.dumps(facts), b"huggingface": json.dumps(features)})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


class ShardWriter:
    """Writes clips to a shard, some at a time; the file appears whole, on disk, or not at all.

    Used as a context.
    """

    def __init__(self, folder: Path, run: CorpusRun, shard: int) -> None:
        self._run, self._path = run, shard_path(folder, shard)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._schema = schema_of(run)

    def __enter__(self) -> ShardWriter:
        self._whole = atomic_write(self._path)
        self._sink = self._whole.__enter__().open("wb")
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", use_dictionary=True)
        return self

    def write(self, clips: Sequence[EncodedClip]) -> None:
        """The next rows of the table."""
        self._writer.write_table(_to_table(clips, self._run, self._schema))

    def __exit__(self, *failure: Any) -> None:
        try:
            try:
                self._writer.close()
                self._sink.flush()
                os.fsync(self._sink.fileno())
            finally:
                self._sink.close()
        except BaseException as error:
            self._whole.__exit__(type(error), error, error.__traceback__)
            raise
        self._whole.__exit__(*failure)


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
    """Whether a shard is there, whole by its footer, and of this run.

    Raises:
        CorpusError: it is of another run.
    """
    path = shard_path(folder, shard)
    try:
        facts = read_facts(path)
    except (FileNotFoundError, CorpusError):
        return False  # a file that was cut while it was copied is made again
    if facts["run"] != run.digest:
        raise CorpusError(
            f"{path} is of another run (of tokenizer {facts['fingerprint']}, layers {facts['layers']}) than {folder}/"
            f"run.json ({run.fingerprint}, {list(run.codebooks)}): put it elsewhere, or give another folder"
        )
    return True


def read_facts(path: Path) -> dict[str, Any]:
    """What a shard's own metadata says.

    Raises:
        FileNotFoundError: there is no such file.
        CorpusError: it is damaged, or no file of tokens.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        facts: dict[str, Any] = json.loads(metadata[_METADATA])
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise CorpusError(f"{path} is damaged, or holds no tokens: {error}") from error
    return facts


def read_columns(paths: Iterable[Path], columns: Sequence[str]) -> pa.Table:
    """These columns of shards, one after the other."""
    return pa.concat_tables([pq.read_table(path, columns=list(columns)) for path in paths])
