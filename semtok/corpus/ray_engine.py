"""Ray Data as the engine: a row of its dataset is a shard, and an actor holds the tokenizer. Extra `ray`.

No audio goes through Ray's object store, and what is done is known by the files of the shards, as everywhere: a run
goes on after a killed worker, driver or cluster.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from semtok.codebooks.layers import Layer
from semtok.corpus.card import write_card
from semtok.corpus.encoding import Encoded, begin_run, written_folders
from semtok.corpus.run import read_run
from semtok.corpus.table import shard_is_done
from semtok.corpus.worker import ClipDone, encode_shard
from semtok.errors import needs_extra
from semtok.speech.sources import is_path, open_source
from semtok.support.atomic import remove_leftovers
from semtok.support.progress import progress_bar
from semtok.tokenizer import Tokenizer


class ShardEncoder:
    """An actor that encodes shards, and holds the tokenizer between them.

    Args:
        tokenizer: reference to it in Ray's object store.
        device: where it runs here.
        source, folder: of the corpus, as all actors see them.
        allow_urls: as in `encode_corpus`.
    """

    def __init__(self, tokenizer: Any, device: str, source: str, folder: Path, allow_urls: bool) -> None:
        import ray

        self._tokenizer: Tokenizer = ray.get(tokenizer).to(device)
        self._source, self._folder = open_source(source, skip=folder, allow_urls=allow_urls), folder
        self._run = read_run(folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Encodes the shards of a batch; the number of clips and of failed ones, and seconds of audio, of each."""
        done = [self._encode(shard) for shard in batch["shard"].tolist()]
        return {
            "clips": np.array([sum(clip.error is None for clip in clips) for clips in done]),
            "failed": np.array([sum(clip.error is not None for clip in clips) for clips in done]),
            "seconds": np.array([sum(clip.seconds for clip in clips) for clips in done], np.float64),
        }

    def _encode(self, shard: int) -> list[ClipDone]:
        done: list[ClipDone] = []
        if not shard_is_done(self._folder, self._run, shard):
            encode_shard(self._tokenizer, self._source, self._folder, self._run, shard, done.append)
        return done


def encode_corpus_with_ray(
    tokenizer: Tokenizer,
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    layers: Sequence[Layer] | None = None,
    num_shards: int | None = None,
    allow_urls: bool = False,
    workers: int = 1,
    num_gpus: float = 0,
    address: str | None = None,
    progress: bool | None = False,
) -> Encoded:
    """As `encode_corpus`, by workers of a cluster of Ray that all see the source and the folder.

    Args:
        tokenizer: on the CPU; every worker gets a copy.
        source, folder, layers, num_shards, allow_urls: as in `encode_corpus`.
        workers: how many, each with a copy of the tokenizer.
        num_gpus: of each; it runs on the CPU with none.
        address: of a cluster that is there, such as "auto"; by default a local one is started and stopped, unless this
            process is connected to one.
        progress: show a bar on stderr; None shows it in a terminal only.

    Raises:
        SemtokError: Ray is not installed; or as `encode_corpus`.
    """
    with needs_extra("ray"):
        import ray
        import ray.data

    started = time.monotonic()
    name, folder = os.fspath(source), Path(folder).absolute()
    name = str(Path(name).absolute()) if is_path(name) else name  # workers have a working directory of their own
    opened = open_source(name, skip=folder, allow_urls=allow_urls)
    run = begin_run(tokenizer, opened, name, folder, layers=layers, num_shards=num_shards, listed=False)
    remove_leftovers(*written_folders(folder))
    missing = [shard for shard in range(run.num_shards) if not shard_is_done(folder, run, shard)]
    counts: list[dict[str, Any]] = []
    if missing:
        connect = not ray.is_initialized()
        if connect:
            ray.init(address=address, log_to_driver=False)
        try:
            with _without_ray_bars(), progress_bar("encoding shards", len(missing), visible=progress) as bar:
                rows = ray.data.from_items([{"shard": shard} for shard in missing], override_num_blocks=len(missing))
                done = rows.map_batches(
                    ShardEncoder,
                    fn_constructor_args=(ray.put(tokenizer), "cuda" if num_gpus else "cpu", name, folder, allow_urls),
                    batch_size=1,
                    compute=ray.data.ActorPoolStrategy(size=workers),
                    num_gpus=num_gpus or None,
                )
                for row in done.iter_rows():
                    counts.append(row)
                    bar.advance()
        finally:
            if connect:
                ray.shutdown()
    write_card(folder, run)
    clips, failed, seconds = (sum(row[count] for row in counts) for count in ("clips", "failed", "seconds"))
    return Encoded(len(missing), int(clips), int(failed), float(seconds), time.monotonic() - started)


@contextmanager
def _without_ray_bars() -> Iterator[None]:
    """Without the bars that Ray draws for each of its operators, a line a second where there is no terminal."""
    import ray.data

    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    try:
        yield
    finally:
        context.enable_progress_bars = before
