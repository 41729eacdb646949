"""`encode_corpus`: a source -> a folder of shards, by this process or by an engine; goes on where it was stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from filelock import SoftFileLease, Timeout

from semtok.checkpoints.card import CARD
from semtok.checkpoints.hub import public_name
from semtok.codebooks.layers import Layer
from semtok.corpus.card import write_card
from semtok.corpus.plan import write_plan
from semtok.corpus.run import MOST_SHARDS, RUN, CorpusRun, default_num_shards, is_one_of_several, own_shards, read_run
from semtok.corpus.table import shard_is_done, shard_path
from semtok.corpus.worker import ClipDone, encode_shard
from semtok.errors import CorpusError
from semtok.speech.columns import is_renamed
from semtok.speech.sources import Source, open_source
from semtok.support.atomic import lease, remove_leftovers
from semtok.support.disks import full_disk
from semtok.support.progress import ProgressBar, progress_bar
from semtok.tokenizer import Tokenizer

# How often it is tried again whether a shard that another process encodes is done, or given up.
_POLL_SECONDS = 0.5
CLIPS_A_SHARD = 2000
"""Unless somebody says how many shards there are: enough for full batches, few enough to lose little in a crash."""


@dataclass(frozen=True)
class Encoded:
    """What one call did: shards that it wrote, clips in them, clips that failed, and seconds of audio and of time."""

    shards: int
    clips: int
    failed: int
    seconds: float
    took: float


def encode_corpus(
    tokenizer: Tokenizer,
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    layers: Sequence[Layer] | None = None,
    num_shards: int | None = None,
    shards: Sequence[int] | None = None,
    allow_urls: bool = False,
    progress: bool | None = False,
) -> Encoded:
    """Encodes a corpus into Parquet files, or the part of it that is this process's; shards that are there are kept.

    Any number of processes, on any machines that see the folder, may work at the same time. A process claims a shard
    while it encodes it, and waits in the end for those that others claimed. What decides the result is locked in
    `run.json` by whoever comes first.

    Args:
        tokenizer: on the device where it is to run.
        source: as `semtok.speech.sources.open_source` takes it.
        folder: of the corpus; made if need be.
        layers: of the tokenizer, in the order of the columns; all by default.
        num_shards: into how many files; by default that of `run.json`, else as many as a Slurm array has tasks, else
            one for 2,000 clips, or for a tar or a file of a dataset.
        shards: which to encode; by default that of this task of a Slurm array, or those of this process of torchrun,
            or all. Only where all are to be encoded is the source listed again, to see that it has not changed.
        allow_urls: whether rows of the source may name any URL, see `semtok.speech.sources.open_source`.
        progress: show a bar on stderr; None shows it in a terminal only.

    Raises:
        AudioError: a source that cannot be read as a whole. A clip that cannot be is a row in `errors/`.
        CorpusError: ids that occur twice; a folder begun with another tokenizer, layers, dtype, clips or number of
            shards; a full disk, after which a rerun goes on.
        LayerError: layers that the tokenizer lacks.
    """
    folder, name = Path(folder), os.fspath(source)
    with full_disk(folder, CorpusError):
        opened = open_source(name, skip=folder, allow_urls=allow_urls)
        partly = shards is not None or is_one_of_several()
        run = begin_run(tokenizer, opened, name, folder, layers=layers, num_shards=num_shards, listed=partly)
        mine = check_shards(own_shards(run.num_shards) if shards is None else shards, run.num_shards)
        remove_leftovers(*written_folders(folder))
        started, clips, failed, seconds, written = time.monotonic(), 0, 0, 0.0, 0
        missing = [shard for shard in mine if not shard_is_done(folder, run, shard)]
        total = sum(stop - start for start, stop in map(run.slice, missing)) if run.rows_are_clips else None

        with progress_bar("encoding", total, visible=progress) as bar:
            if not partly and opened.left_out:
                bar.print(f"left out of {name}: {opened.left_out}")
            if not partly and (renamed := [column for column in run.columns if is_renamed(column)]):
                bar.print(f"columns named as those of tokens are called {', '.join(renamed)}")

            def report(clip: ClipDone) -> None:
                nonlocal clips, failed, seconds
                clips, failed, seconds = clips + 1, failed + (clip.error is not None), seconds + clip.seconds
                bar.show(x_real_time=seconds / (time.monotonic() - started))
                bar.advance()
                if clip.error is not None:
                    bar.print(f"failed: {clip.error}", style="red")

            with closing(_claim(folder, run, missing, bar)) as claimed:
                for shard in claimed:
                    encode_shard(tokenizer, opened, folder, run, shard, report)
                    written += 1
        write_card(folder, run)
    return Encoded(written, clips - failed, failed, seconds, time.monotonic() - started)


def _claim(folder: Path, run: CorpusRun, shards: Sequence[int], bar: ProgressBar) -> Generator[int, None, None]:
    """The shards that are not done, each while no other process encodes it.

    Shards that others encode come last, and only if they are not done then: their processes may have been killed.
    """
    claims: dict[int, SoftFileLease] = {}
    waiting, announced = list(shards), False
    while waiting:
        others = []
        for shard in waiting:
            path = shard_path(folder, shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            claim = claims.get(shard) or lease(path)
            with ExitStack() as stack:
                try:
                    stack.enter_context(claim.acquire(blocking=False))
                except Timeout:
                    claims[shard] = claim
                    others.append(shard)
                    continue
                if not shard_is_done(folder, run, shard):
                    yield shard
                elif run.rows_are_clips:
                    start, stop = run.slice(shard)
                    bar.advance(stop - start)
        if others:
            if not announced:
                bar.print(f"waiting for shards that other processes encode: {', '.join(map(str, others))}")
            announced = True
            time.sleep(_POLL_SECONDS)
        waiting = others


def begin_run(
    tokenizer: Tokenizer,
    source: Source,
    name: str,
    folder: Path,
    *,
    layers: Sequence[Layer] | None,
    num_shards: int | None,
    listed: bool,
) -> CorpusRun:
    """What all processes agree on: read from `run.json`, or written there by the first.

    Args:
        tokenizer, source: of the corpus; `name` is the source's.
        folder: of the corpus.
        layers, num_shards: as in `encode_corpus`.
        listed: whether the list of clips that is there may be taken as it is.
    """
    _check_folder(folder)
    codebooks = tokenizer.codebooks if layers is None else tokenizer.codebooks.select(layers, owner="this tokenizer")
    there = read_run(folder) if (folder / RUN).exists() else None
    if there is not None and listed:
        plan, rows, columns = there.plan, there.rows, there.columns
    else:
        plan_, columns = write_plan(source, folder), dict(source.columns)
        plan, rows = plan_.digest, plan_.rows
    if num_shards is None:
        size = CLIPS_A_SHARD if source.rows_are_clips else 1
        num_shards = default_num_shards(rows, size) if there is None else there.num_shards
    if isinstance(num_shards, bool) or not isinstance(num_shards, Integral) or not 1 <= num_shards <= MOST_SHARDS:
        raise CorpusError(f"num_shards must be a whole number from 1 to {MOST_SHARDS}, got {num_shards!r}")
    run = CorpusRun(
        fingerprint=tokenizer.fingerprint,
        codebooks=codebooks,
        frame_rate=tokenizer.frame_rate,
        sample_rate=tokenizer.sample_rate,
        dtype=str(tokenizer.dtype).removeprefix("torch."),
        plan=plan,
        rows=rows,
        num_shards=int(num_shards),
        columns=columns,
        rows_are_clips=source.rows_are_clips,
        source=name,
        checkpoint=public_name(tokenizer.source) or tokenizer.source,
    )
    return run.lock(folder)


def written_folders(folder: Path) -> list[Path]:
    """Where the files of a corpus are written."""
    return [folder, folder / "data", folder / "errors"]


def _check_folder(folder: Path) -> None:
    """Raises `CorpusError` for a folder that is no corpus and holds other things than a card and hidden files."""
    # listed first: another process writes run.json before shards
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in there if not name.startswith((".", "plan-")) and name != CARD]
    if others and not (folder / RUN).exists():
        raise CorpusError(
            f"{folder} holds other files, such as {', '.join(others[:3])}, and no corpus of tokens: give a new folder"
        )


def check_shards(shards: Sequence[int], num_shards: int) -> list[int]:
    """Refuses numbers of shards that there are not."""
    if wrong := [shard for shard in shards if shard not in range(num_shards)]:
        raise CorpusError(f"there is no shard {wrong[0]!r}: this corpus has {num_shards}, numbered from 0")
    return list(map(int, shards))
