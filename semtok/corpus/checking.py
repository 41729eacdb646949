"""What a corpus still lacks, and whether what it has is right."""

from __future__ import annotations

import os
import random
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from semtok.codebooks.editions import with_edition
from semtok.corpus.plan import Plan, id_hash
from semtok.corpus.reading import TokenCorpus, read
from semtok.corpus.run import CorpusRun, read_run
from semtok.corpus.table import check_clips, read_column, shard_is_done, shard_path
from semtok.corpus.worker import read_errors
from semtok.encoder.batches import Clips, run_each
from semtok.errors import AudioError, CorpusError
from semtok.speech.clip import Clip
from semtok.speech.sources import open_source
from semtok.support.parquet import ParquetReader, damaged
from semtok.tokenizer import Tokenizer
from semtok.tokens import Tokens

_SAMPLED_SHARDS = 5


@dataclass(frozen=True)
class CorpusStatus:
    """How far a corpus is.

    Args:
        shards: how many it will have.
        missing: those that are not there, or are damaged.
        rows: of the plan: clips, or tars or files of a dataset.
        clips, seconds: in the shards that are there.
        failed: clips that could not be encoded.
    """

    shards: int
    missing: tuple[int, ...]
    rows: int
    clips: int
    seconds: float
    failed: int

    @property
    def array(self) -> str:
        """The missing shards as `sbatch --array=` and `--shard-index` take them: "3,17,40-44"."""
        ranges: list[list[int]] = []
        for shard in self.missing:
            if ranges and shard == ranges[-1][1] + 1:
                ranges[-1][1] = shard
            else:
                ranges.append([shard, shard])
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def status(folder: str | os.PathLike[str]) -> CorpusStatus:
    """How far the corpus in a folder is; `CorpusError` if there is none, or a shard is of another run."""
    folder = Path(folder)
    run = read_run(folder)
    done = [shard for shard in range(run.num_shards) if shard_is_done(folder, run, shard)]
    seconds = read_column((shard_path(folder, shard) for shard in done), "duration")
    return CorpusStatus(
        shards=run.num_shards,
        missing=tuple(sorted(set(range(run.num_shards)) - set(done))),
        rows=run.rows,
        clips=len(seconds),
        seconds=pc.sum(seconds).as_py() or 0.0,
        failed=sum(len(read_errors(folder, shard)) for shard in done),
    )


@dataclass(frozen=True)
class BytesVerified:
    """What was read: files and bytes, and how many of the files are older than checksums, so that changes may hide."""

    files: int
    bytes: int
    without_checksums: int


def verify_bytes(folder: str | os.PathLike[str]) -> BytesVerified:
    """Reads every byte of the shards that are there, and of the list of clips, and compares it with its checksum.

    Raises:
        CorpusError: no corpus, or files that are damaged: all are named.
    """
    folder = Path(folder)
    run = read_run(folder)
    shards = {path: shard for shard in range(run.num_shards) if (path := shard_path(folder, shard)).exists()}
    files = [_plan(run).path(folder), *shards]
    checks = [_check_bytes(path, folder, run, shards.get(path)) for path in files]
    if wrong := [str(check) for check in checks if isinstance(check, Exception)]:
        raise CorpusError("\n".join(wrong))
    return BytesVerified(len(files), sum(path.stat().st_size for path in files), checks.count(False))


def _check_bytes(path: Path, folder: Path, run: CorpusRun, shard: int | None) -> bool | OSError | CorpusError:
    """Whether a file, of a shard or of the list of clips, has checksums; or what is wrong with its bytes."""
    try:
        if shard is not None and not shard_is_done(folder, run, shard):
            raise damaged(path, "its footer is not that of a shard of this corpus")
        with ParquetReader(path) as file:
            for group in range(len(file.group_rows)):
                table = file.read(group, file.schema.names)
                if shard is not None:
                    check_clips(table, run.codebooks, path)
            return file.has_checksums
    except (OSError, CorpusError) as error:
        return error


@dataclass(frozen=True)
class Verification:
    """What was compared: clips encoded again, their codes, and how many of them are the same."""

    clips: int
    codes: int
    equal: int

    @property
    def agreement(self) -> float:
        """Share of codes that are the same; 1 but for ties between centroids, in float32."""
        return self.equal / self.codes if self.codes else 1.0


def verify(
    folder: str | os.PathLike[str],
    tokenizer: Tokenizer,
    *,
    clips: int = 20,
    seed: int = 0,
    source: str | None = None,
    allow_urls: bool = False,
) -> Verification:
    """Checks that every clip of the plan is in one shard or in `errors/`, and encodes a sample of the clips again.

    Args:
        folder: of a finished corpus.
        tokenizer: of the corpus.
        clips: of the sample, which is of no more than five shards.
        seed: of the choice.
        source: where the clips are, if they were moved.
        allow_urls: as in `encode_corpus`.

    Raises:
        CorpusError: shards that are missing, clips that are lost or there twice, or another tokenizer.
    """
    folder = Path(folder)
    corpus = read(folder)
    run = corpus.run
    if tokenizer.fingerprint != run.fingerprint:
        raise CorpusError(
            f"{folder} is of tokenizer {with_edition(run.fingerprint)}, this one is "
            f"{with_edition(tokenizer.fingerprint)}: check it with the checkpoint that encoded it"
        )
    _check_ids(folder, run)
    opened = open_source(source or run.source, skip=folder, allow_urls=allow_urls)
    wanted, shards = _sample(corpus, clips, random.Random(seed))
    windows = tokenizer.encoder.framing.windows()
    compared = codes = equal = 0
    for clip, recording in opened.recordings(_rows(folder, run, shards, wanted), tokenizer.sample_rate):
        if (there := wanted.pop(clip.id, None)) is None:
            continue
        if isinstance(recording, AudioError):
            raise recording
        ((_, outcome),) = run_each(Clips(tokenizer.network, [recording], run.codebooks.layers, windows))
        if isinstance(outcome, AudioError):
            raise outcome
        if outcome.shape != there.codes.shape[1:]:
            raise CorpusError(f"{clip.id} has {there.codes.shape[2]} frames, now it gives {outcome.shape[1]}")
        compared += 1
        codes += outcome.numel()
        equal += int((outcome.cpu() == there.codes[0]).sum())
        if not wanted:
            break
    if wanted:
        raise CorpusError(f"{len(wanted)} clips are not in {run.source} any more, such as {next(iter(wanted))!r}")
    return Verification(compared, codes, equal)


def _check_ids(folder: Path, run: CorpusRun) -> None:
    """Every clip once, in its shard or in `errors/`."""
    hashes = array("Q")
    for shard in range(run.num_shards):
        there = read_column([shard_path(folder, shard)], "id").to_pylist()
        failed = [row["id"] for row in read_errors(folder, shard)]
        if run.rows_are_clips:
            planned = [row.id for row in _plan(run).read(folder, *run.slice(shard))]
            if wrong := (Counter(planned) - Counter(there + failed)) or (Counter(there + failed) - Counter(planned)):
                raise CorpusError(
                    f"{shard_path(folder, shard)} does not hold what it should: {len(wrong)} clips are missing or too "
                    f"many, such as {next(iter(wrong))!r}; remove it and encode it again"
                )
        hashes.extend(map(id_hash, there))
    values, counts = np.unique(np.frombuffer(hashes, dtype=np.uint64), return_counts=True)
    if len(values) and counts.max() > 1:
        raise CorpusError(f"{int((counts > 1).sum())} ids of {folder} are in several shards: name the clips apart")


def _sample(corpus: TokenCorpus, clips: int, choice: random.Random) -> tuple[dict[str, Tokens], list[int]]:
    """Tokens of some clips by their ids, and the shards that they are in."""
    shards = sorted(choice.sample(range(len(corpus.paths)), min(_SAMPLED_SHARDS, len(corpus.paths))))
    part = TokenCorpus(corpus.folder, corpus.run, corpus.codebooks, [corpus.paths[shard] for shard in shards])
    chosen = sorted(choice.sample(range(len(part)), min(clips, len(part))))
    return {clip.id: clip.tokens for clip in map(part.__getitem__, chosen)}, shards


def _rows(folder: Path, run: CorpusRun, shards: Sequence[int], wanted: dict[str, Tokens]) -> Iterator[Clip]:
    """The rows of the plan that hold the wanted clips."""
    names = set(wanted)
    for shard in shards:
        for row in _plan(run).read(folder, *run.slice(shard)):
            if not run.rows_are_clips or row.id in names:
                yield row


def _plan(run: CorpusRun) -> Plan:
    return Plan(run.plan, run.rows)
