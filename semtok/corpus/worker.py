"""One shard of a corpus -> one file of tokens: the work that every engine hands out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from semtok.audio.recordings import Recording
from semtok.codebooks.codebooks import code_type
from semtok.corpus.plan import Plan
from semtok.corpus.run import CorpusRun
from semtok.corpus.table import EncodedClip, write_shard
from semtok.encoder.batches import Clips, run_each
from semtok.errors import AudioError, CorpusError
from semtok.speech.clip import Clip
from semtok.speech.sources import Opened, Source
from semtok.support.atomic import atomic_write
from semtok.support.json import read_json_lines
from semtok.tokenizer import Tokenizer

T = TypeVar("T")

# Clips that are batched, and then written, together, and bytes of audio files held for them; bounds memory.
_GROUP_CLIPS = 1000
_GROUP_BYTES = 1 << 26


@dataclass(frozen=True)
class ClipDone:
    """A clip that was encoded, or failed, and the seconds of audio it has."""

    seconds: float
    error: AudioError | None = None


def encode_shard(
    tokenizer: Tokenizer,
    source: Source,
    folder: Path,
    run: CorpusRun,
    shard: int,
    report: Callable[[ClipDone], None] = lambda clip: None,
) -> None:
    """Writes the file of a shard, and one of the clips that could not be encoded if there are any.

    Args:
        tokenizer: that of the run.
        source: where the clips are.
        folder: of the corpus.
        run: which holds the plan.
        shard: its number.
        report: called for each clip as it is done.

    Raises:
        CorpusError: the plan cannot be read.
        AudioError: a source that fails as a whole.
        OSError: the file cannot be written.
    """
    errors: list[dict[str, Any]] = []
    rows = Plan(run.plan, run.rows).read(folder, *run.slice(shard))
    clips = _unique(source.recordings(rows, tokenizer.sample_rate))
    with write_shard(folder, run, shard) as write:
        for group in _ahead(_groups(clips)):
            encoded: dict[int, EncodedClip] = {}
            for number, outcome in _encode(tokenizer, run, group):
                if isinstance(outcome, EncodedClip):
                    encoded[number] = outcome
                    report(ClipDone(outcome.num_samples / run.sample_rate))
                else:
                    errors.append(_error_row(group[number][0], outcome))
                    report(ClipDone(0, outcome))
            write([encoded[number] for number in sorted(encoded)])
        # before the shard, which says that both are done
        _write_errors(error_path(folder, shard), errors)


def error_path(folder: Path, shard: int) -> Path:
    return folder / "errors" / f"part-{shard:05}.jsonl"


def read_errors(folder: Path, shard: int) -> list[dict[str, Any]]:
    """The clips of a shard that could not be encoded: `id`, `path`, `start`, `duration` and `error` of each.

    Raises:
        CorpusError: the file that lists them is damaged.
    """
    path = error_path(folder, shard)
    return [entries for _, entries in read_json_lines(path, CorpusError)] if path.exists() else []


class _Counted(Recording):
    """A recording that remembers how many samples it turned out to have."""

    def __init__(self, recording: Recording) -> None:
        self._recording, self.name, self.counted = recording, recording.name, 0

    @property
    def samples(self) -> int:
        return self._recording.samples

    def load(self) -> Tensor:
        waveform = self._recording.load()
        self.counted = len(waveform)
        return waveform

    def blocks(self, seconds: float) -> Iterator[Tensor]:
        counted = 0
        for block in self._recording.blocks(seconds):
            counted += len(block)
            yield block
        self.counted = counted


def _encode(
    tokenizer: Tokenizer, run: CorpusRun, group: list[Opened]
) -> Iterator[tuple[int, EncodedClip | AudioError]]:
    """The number in the group of each clip, and what came of it, as they are done."""
    readable = {}
    for number, (_, recording) in enumerate(group):
        if isinstance(recording, AudioError):
            yield number, recording
        else:
            readable[number] = _Counted(recording)
    numbers, recordings = list(readable), list(readable.values())
    windows = tokenizer.encoder.framing.windows()
    dtype = code_type(max(run.codebooks.sizes))
    for index, outcome in (
        run_each(Clips(tokenizer.network, recordings, run.codebooks.layers, windows)) if recordings else ()
    ):
        number, recording = numbers[index], recordings[index]
        if isinstance(outcome, AudioError):
            yield number, outcome
        else:
            yield number, EncodedClip(group[number][0], recording.counted, outcome.cpu().numpy().astype(dtype))


def _unique(clips: Iterable[Opened]) -> Iterator[Opened]:
    """The same, but a clip whose id was there before is an error: a tar, or a dataset, may name two alike."""
    seen = set()
    for clip, recording in clips:
        if clip.id in seen:
            yield clip, AudioError(f"another clip before it has the id {clip.id!r}")
        else:
            seen.add(clip.id)
            yield clip, recording


def _groups(clips: Iterable[Opened]) -> Iterator[list[Opened]]:
    group: list[Opened] = []
    held = 0
    for clip, recording in clips:
        group.append((clip, recording))
        held += recording.held_bytes if isinstance(recording, Recording) else 0
        if len(group) >= _GROUP_CLIPS or held >= _GROUP_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same, the next one made in a thread meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="semtok") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _error_row(clip: Clip, error: AudioError) -> dict[str, Any]:
    return {"id": clip.id, "path": clip.path, "start": clip.start, "duration": clip.duration, "error": str(error)}


def _write_errors(path: Path, errors: list[dict[str, Any]]) -> None:
    if not errors:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside:
        lines = (json.dumps(row, ensure_ascii=False) for row in sorted(errors, key=lambda row: str(row["id"])))
        aside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
