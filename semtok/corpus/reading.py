"""`read`: a corpus of tokens as tokens again, clip by clip."""

from __future__ import annotations

import dataclasses
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer
from semtok.corpus.run import CorpusRun, read_run
from semtok.corpus.table import check_clips, shard_is_done, shard_path
from semtok.errors import CorpusError
from semtok.speech.columns import RESERVED
from semtok.support.parquet import ParquetReader
from semtok.tokens import Tokens


@dataclass(frozen=True)
class TokenClip:
    """A clip of a corpus of tokens.

    Args:
        id, path: of the clip.
        start, duration: seconds; `start` is 0 unless it is a segment of its file.
        num_samples: at the tokenizer's rate.
        columns: those of the manifest.
        tokens: a batch of one utterance.
    """

    id: str
    path: str
    start: float
    duration: float
    num_samples: int
    columns: dict[str, Any]
    tokens: Tokens


class TokenCorpus:
    """The clips of a corpus, in the order of its source: `len`, iteration, and `corpus[number]` or `corpus[id]`.

    Attributes:
        run: what `run.json` says.
        codebooks: layers that are read, in order, and their codebook sizes.
        paths: of the shards.
    """

    def __init__(self, folder: Path, run: CorpusRun, codebooks: Codebooks, paths: Sequence[Path]) -> None:
        self.folder, self.run, self.codebooks, self.paths = folder, run, codebooks, list(paths)
        self._ends = list(accumulate(map(_count, self.paths)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[TokenClip]:
        for path in self.paths:
            with ParquetReader(path) as file:
                for group in range(len(file.group_rows)):
                    yield from self._clips(self._read(file, group))

    def ids(self) -> Iterator[str]:
        """The ids of the clips, which are read alone."""
        return (facts["id"] for facts in self.facts("id"))

    def facts(self, *names: str) -> Iterator[dict[str, Any]]:
        """What is known of each clip: these columns alone, without codes."""
        for path in self.paths:
            with ParquetReader(path) as file:
                for group in range(len(file.group_rows)):
                    yield from file.read(group, names).to_pylist()

    def parts(self) -> Iterator[TokenCorpus]:
        """A corpus for each shard."""
        return (TokenCorpus(self.folder, self.run, self.codebooks, [path]) for path in self.paths)

    def __getitem__(self, key: int | str) -> TokenClip:
        if isinstance(key, str):
            return self._find(key)
        number = key + len(self) if key < 0 else key
        if not 0 <= number < len(self):
            raise IndexError(f"there is no clip {key} in a corpus of {len(self)}")
        shard = bisect_right(self._ends, number)
        row = number - (self._ends[shard - 1] if shard else 0)
        with ParquetReader(self.paths[shard]) as file:
            for group, rows in enumerate(file.group_rows):
                if row < rows:
                    return next(self._clips(self._read(file, group)[row : row + 1]))
                row -= rows
        raise AssertionError("the footer counts other rows than its groups")

    def _find(self, name: str) -> TokenClip:
        for path in self.paths:
            with ParquetReader(path) as file:
                for group in range(len(file.group_rows)):
                    least, greatest = file.bounds(group, "id") or (name, name)
                    if least <= name <= greatest and name in (ids := file.read(group, ["id"])["id"].to_pylist()):
                        row = ids.index(name)
                        return next(self._clips(self._read(file, group)[row : row + 1]))
        raise KeyError(f"{self.folder} has no clip with the id {name!r}")

    def _read(self, file: ParquetReader, group: int) -> pa.Table:
        table = file.read(group, [*RESERVED, *self.codebooks.columns, *self.run.columns])
        check_clips(table, self.codebooks, file.path)
        return table

    def _clips(self, table: pa.Table) -> Iterator[TokenClip]:
        codes = [_split(table.column(name).combine_chunks()) for name in self.codebooks.columns]
        for number, record in enumerate(table.select([*RESERVED, *self.run.columns]).to_pylist()):
            rows = np.stack([row[number] for row in codes]).astype(np.int64)
            tokens = Tokens.of([torch.from_numpy(rows)], self.codebooks, self.run.frame_rate, self.run.fingerprint)
            values = {name: record.pop(name) for name in RESERVED}
            del values["num_frames"]
            yield TokenClip(**values, columns=record, tokens=tokens)

    def __repr__(self) -> str:
        return (
            f"TokenCorpus({str(self.folder)!r}, clips={len(self)}, layers={self.codebooks.layers}, "
            f"codebook_sizes={self.codebooks.sizes}, fingerprint={self.run.fingerprint!r})"
        )


def read(
    folder: str | os.PathLike[str], *, layers: Sequence[Layer] | None = None, partial: bool = False
) -> TokenCorpus:
    """The corpus of tokens in a folder; files are read as clips are asked for.

    Args:
        folder: as `encode_corpus` wrote it.
        layers: the only ones that are read, in this order; all by default.
        partial: take what there is of a corpus that is not finished.

    Raises:
        CorpusError: no corpus; shards that are missing, damaged or of another run.
        LayerError: layers that the corpus lacks.
    """
    folder = Path(folder)
    run = read_run(folder)
    codebooks = run.codebooks if layers is None else run.codebooks.select(layers, owner=f"the corpus {folder}")
    done = [shard for shard in range(run.num_shards) if shard_is_done(folder, run, shard)]
    if len(done) < run.num_shards and not partial:
        raise CorpusError(
            f"{run.num_shards - len(done)} of {run.num_shards} shards of {folder} are missing or damaged: encode them, "
            "see `semtok corpus status`, or take what is there with partial=True"
        )
    return TokenCorpus(folder, run, codebooks, [shard_path(folder, shard) for shard in done])


def join(corpora: Sequence[TokenCorpus]) -> TokenCorpus:
    """Several corpora as one, with the columns that all of them have, of one type each.

    Raises:
        CorpusError: tokens of several tokenizers or of other layers; nothing to join.
    """
    if not corpora:
        raise CorpusError("there is no corpus: name at least one")
    first = corpora[0]
    for other in corpora[1:]:
        if other.run.fingerprint != first.run.fingerprint:
            raise CorpusError(
                f"{first.folder} holds tokens of tokenizer {first.run.fingerprint}, {other.folder} of "
                f"{other.run.fingerprint}: their codes mean different sounds, export them one by one"
            )
        if other.codebooks != first.codebooks:
            raise CorpusError(
                f"{first.folder} has rows {', '.join(first.codebooks.columns)}, {other.folder} "
                f"{', '.join(other.codebooks.columns)}: choose layers that both have"
            )
    shared = set.intersection(*(set(corpus.run.columns.items()) for corpus in corpora))
    columns = {name: kind for name, kind in first.run.columns.items() if (name, kind) in shared}
    run = dataclasses.replace(first.run, columns=columns)
    return TokenCorpus(first.folder, run, first.codebooks, [path for corpus in corpora for path in corpus.paths])


def _count(path: Path) -> int:
    with ParquetReader(path) as file:
        return sum(file.group_rows)


def _split(column: pa.ListArray) -> list[np.ndarray]:
    """The lists of a column."""
    values, offsets = column.flatten().to_numpy(), np.cumsum([0, *column.value_lengths().to_numpy()])
    return [values[start:stop] for start, stop in pairwise(offsets.tolist())]
