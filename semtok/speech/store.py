"""The store: arrays that are made of clips, on disk in shards that appear whole, whatever the arrays are.

A part of the clips becomes a shard: a folder whose name is a digest of what made it (the maker's identity) and of what
it was made of (the part's identity). So a recording that was replaced, or another maker, gives another folder, and a
run that was stopped goes on with the shards that are missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from semtok.errors import AudioError, SemtokError
from semtok.speech.clip import Clip
from semtok.speech.reading import Speech
from semtok.support.arrays import Integers
from semtok.support.atomic import atomic_folder, atomic_write, remove_leftovers
from semtok.support.disks import full_disk
from semtok.support.progress import counted, progress_bar

# Of the format, so that what a later version writes in another one is another file.
_VERSION = 1
_ALIGNMENT = 8
# Listed clips of a shard.
_PART_CLIPS = 64
# Waveforms that a maker is given together: ten minutes at 16 kHz.
_BLOCK_SAMPLES = 600 * 16000

Array: TypeAlias = npt.NDArray[Any]
Copies: TypeAlias = Sequence[Mapping[str, Array]]
"""What a maker makes of one clip: its arrays by name, [rows, *shape] each; then those of each changed copy of it."""


class Form(NamedTuple):
    """The type of an array, and the shape of one of its rows; how many rows there are depends on the clip."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


class Maker(Protocol):
    """Makes arrays of waveforms, always the same of the same waveform."""

    @property
    def identity(self) -> Any:
        """All that decides the arrays beside the waveform, as JSON."""

    @property
    def forms(self) -> Mapping[str, Form]:
        """The form of each array, by its name."""

    def make(self, waveforms: Sequence[Tensor]) -> Iterable[tuple[int, Copies | AudioError]]:
        """The number of each waveform [samples], in any order, and what was made of it or why it is left out."""


@dataclass(frozen=True)
class Part:
    """Clips that are stored together.

    Args:
        identity: of all that decides their waveforms, as JSON.
        read: gives each clip and its waveform [samples], or why it cannot be read.
        clips: those that `read` gives, in that order; empty where no one knows them before they are read.
    """

    identity: Any
    read: Callable[[], Iterable[tuple[Clip, Tensor | AudioError]]]
    clips: Sequence[Clip] = ()


def parts_of(speech: Speech, sample_rate: int) -> list[Part]:
    """The parts of a store that is made of speech at `sample_rate`: 64 clips each, or an archive of clips."""
    return [
        Part(part.stamps, partial(part.read, sample_rate), part.clips if part.is_listed else ())
        for part in speech.parts(_PART_CLIPS)
    ]


@dataclass(frozen=True)
class Processes:
    """The processes that make a store together, each a share of its shards; `wait` returns once all have called it."""

    index: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None


ALONE = Processes()


class Values:
    """One array of every clip, memory-mapped: `values[clip, copy, start:stop]` is [rows, *shape], read-only.

    `values[clip]` is all of copy 0, which is the clip itself.
    """

    def __init__(self, form: Form, blocks: Sequence[Array], spans: Sequence[Sequence[tuple[int, int, int]]]) -> None:
        """`spans` has for each clip and copy: its block of bytes, where it begins there, and how many rows it has."""
        self._form, self._blocks = form, blocks
        self._spans = np.array([span for copies in spans for span in copies], np.int64).reshape(-1, 3)
        self._firsts = np.cumsum([0, *map(len, spans)])

    @classmethod
    def of(cls, array: Array, lengths: Sequence[int] | Integers) -> Values:
        """An array in memory, [rows of all clips, *shape], as that of clips with so many rows each."""
        form = Form(array.dtype, array.shape[1:])
        ends = np.cumsum(lengths)
        size = form.row_bytes
        spans = [[(0, int(end - length) * size, int(length))] for end, length in zip(ends, lengths, strict=True)]
        return cls(form, [np.ascontiguousarray(array).reshape(-1).view(np.uint8)], spans)

    def __len__(self) -> int:
        return len(self._firsts) - 1

    def __getitem__(self, place: int | tuple[int, int] | tuple[int, int, slice]) -> Array:
        clip, copy, rows = (*place, slice(None))[:3] if isinstance(place, tuple) else (place, 0, slice(None))
        block, offset, count = self._spans[self._span(clip, copy)].tolist()
        content = self._blocks[block][offset : offset + count * self._form.row_bytes]
        values: Array = content.view(self._form.dtype).reshape(count, *self._form.shape)[rows]
        return values

    @property
    def lengths(self) -> Integers:
        """Rows of each clip itself, [clips]."""
        lengths: Integers = self._spans[self._firsts[:-1], 2]
        return lengths

    def copies(self, clip: int) -> int:
        """How many copies of a clip there are, itself among them."""
        return int(self._firsts[clip + 1] - self._firsts[clip])

    def _span(self, clip: int, copy: int) -> int:
        if not (0 <= clip < len(self) and 0 <= copy < self.copies(clip)):
            raise IndexError(f"there is no copy {copy} of clip {clip} among {len(self)} clips")
        return int(self._firsts[clip]) + copy


class Store:
    """The arrays of clips, by name: `store["codes"][clip, copy, start:stop]`.

    Attributes:
        clips: those that arrays were made of, in the order of the parts.
        numbers: of these among all clips of the parts.
        left_out: why, by id, for each clip that could not be read or that nothing could be made of.
        digest: of the maker and the clips: another digest is another store.
    """

    def __init__(self, forms: Mapping[str, Form], shards: Sequence[_Shard]) -> None:
        self.clips: list[Clip] = []
        self.numbers: list[int] = []
        self.left_out: dict[str, str] = {}
        self.digest = _digest([shard.digest for shard in shards])
        self._shards, self._ends, total = shards, [], 0
        spans: dict[str, list[list[tuple[int, int, int]]]] = {name: [] for name in forms}
        for number, shard in enumerate(shards):
            index = shard.index()
            if index is None:
                raise SemtokError(f"{shard.path} was removed or changed while it was read: run again")
            for entry in index["clips"]:
                self.clips.append(shard.clip(entry))
                self.numbers.append(total + entry["number"])
                for name in forms:
                    spans[name].append([(number, *span) for span in entry["spans"][name]])
            self.left_out |= {shard.clip(entry).id: entry["reason"] for entry in index["left_out"]}
            self._ends.append(len(self.clips))
            total += len(index["clips"]) + len(index["left_out"])
        blocks = [_map(shard.values) for shard in shards]
        self._values = {name: Values(form, blocks, spans[name]) for name, form in forms.items()}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, name: str) -> Values:
        return self._values[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arrays."""
        return tuple(self._values)

    def parts(self, waveform: Callable[[int], Tensor]) -> list[Part]:
        """The parts of a store that is made of this one; `waveform` gives that of the clip of a number, [samples]."""

        def part(digest: str, first: int, end: int) -> Part:
            clips = self.clips[first:end]
            return Part(digest, lambda: zip(clips, map(waveform, range(first, end)), strict=True), clips)

        starts = [0, *self._ends][:-1]
        return [part(shard.digest, *edges) for shard, *edges in zip(self._shards, starts, self._ends, strict=True)]


def open_store(
    parts: Sequence[Part],
    maker: Maker,
    folder: Path,
    *,
    processes: Processes = ALONE,
    description: str = "making",
) -> Store:
    """What a maker makes of clips: from `folder` what is there already, the rest is made there first.

    A process that is stopped loses the shard that it was making. Clips that are left out are counted and listed with
    their reasons in `folder/left_out.json`. Other stores may share the folder.

    Args:
        parts: of the clips; each is a shard.
        maker: of the arrays.
        folder: made if need be.
        processes: all of those that open this store now, each with the same parts and an equal maker.
        description: beside the progress bar.

    Raises:
        AudioError: a part cannot be read as a whole.
        SemtokError: the disk is full; what was written is whole.
    """
    forms = dict(maker.forms)
    shapes = {name: [str(dtype), shape] for name, (dtype, shape) in forms.items()}
    maker_digest = _digest([_VERSION, maker.identity, shapes])
    shards = [_Shard(folder, _digest([maker_digest, part.identity]), part) for part in parts]
    missing = [shard for shard in shards[processes.index :: processes.count] if shard.index() is None]
    is_main = processes.index == 0
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    with (
        full_disk(folder, SemtokError),
        progress_bar(description, len(missing), visible=is_main and bool(missing)) as bar,
    ):
        for shard in missing:
            try:
                shard.write(maker, forms)
            except OSError:
                if shard.index() is None:  # else another run has made it meanwhile
                    raise
            bar.advance()
        processes.wait()
        store = Store(forms, shards)
        if is_main:
            _write_left_out(folder / "left_out.json", store.left_out)
        reasons = f", the reasons are in {folder / 'left_out.json'}" if store.left_out else ""
        segments = sum(clip.start is not None for clip in store.clips)
        of_them = f" ({counted(segments, 'segment')} of recordings)" if segments else ""
        bar.print(f"{counted(len(store), 'clip')}{of_them}, {len(store.left_out)} left out{reasons}")
    return store


@dataclass(frozen=True)
class _Shard:
    """A folder: `values`, the arrays of clips one after the other, and `index.json`, which says where each is."""

    folder: Path
    digest: str
    part: Part

    @property
    def path(self) -> Path:
        return self.folder / self.digest

    @property
    def values(self) -> Path:
        return self.path / "values"

    def index(self) -> dict[str, Any] | None:
        """Where everything is, or None if there is no such shard, or one with a file that was cut or changed."""
        try:
            written = json.loads((self.path / "index.json").read_text(encoding="utf-8"))
            index: dict[str, Any] = written["index"]
            whole = self.values.stat().st_size == index["bytes"] and _checksum(index) == written["checksum"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return index if whole else None

    def clip(self, entry: Mapping[str, Any]) -> Clip:
        """The clip of an entry of the index, with what is known of it now where it is listed."""
        return self.part.clips[entry["number"]] if self.part.clips else Clip(**entry["clip"])

    def write(self, maker: Maker, forms: Mapping[str, Form]) -> None:
        """Makes the shard, which appears once it is whole, in place of a damaged one.

        Raises:
            OSError: it cannot be written, or another run was first.
        """
        if self.index() is not None:
            return  # another run has made it meanwhile
        shutil.rmtree(self.path, ignore_errors=True)
        entries: list[dict[str, Any]] = []
        with atomic_folder(self.path) as aside:
            with (aside / "values").open("wb") as file:
                for number, clip, outcome in _make(maker, self.part.read()):
                    entry: dict[str, Any] = {"number": number, "clip": dataclasses.asdict(clip)}
                    if isinstance(outcome, AudioError):
                        entry["reason"] = str(outcome)
                    else:
                        entry["spans"] = {
                            name: [_write(file, copy[name], form) for copy in outcome] for name, form in forms.items()
                        }
                    entries.append(entry)
                size = file.tell()
            entries.sort(key=lambda entry: int(entry["number"]))
            index = {
                "bytes": size,
                "clips": [entry for entry in entries if "spans" in entry],
                "left_out": [entry for entry in entries if "reason" in entry],
            }
            index = json.loads(json.dumps(index, default=str))
            text = json.dumps({"checksum": _checksum(index), "index": index})
            (aside / "index.json").write_text(text, encoding="utf-8")


def _checksum(index: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(index).encode())


def _make(
    maker: Maker, clips: Iterable[tuple[Clip, Tensor | AudioError]]
) -> Iterator[tuple[int, Clip, Copies | AudioError]]:
    """The number of each clip, the clip, and what was made of it or why nothing was, block by block."""
    block: list[tuple[int, Clip, Tensor]] = []

    def make_block() -> Iterator[tuple[int, Clip, Copies | AudioError]]:
        for place, outcome in maker.make([waveform for *_, waveform in block]):
            yield *block[place][:2], outcome
        block.clear()

    for number, (clip, waveform) in enumerate(clips):
        if isinstance(waveform, AudioError):
            yield number, clip, waveform
            continue
        block.append((number, clip, waveform))
        if sum(len(waveform) for *_, waveform in block) >= _BLOCK_SAMPLES:
            yield from make_block()
    if block:
        yield from make_block()


def _write(file: IO[bytes], array: Array, form: Form) -> tuple[int, int]:
    """Where an array begins in a file, and how many rows it has."""
    if array.dtype != form.dtype or array.shape[1:] != form.shape:
        raise TypeError(f"expected {form.dtype} [rows, *{form.shape}], a maker made {array.dtype} {array.shape}")
    start = file.tell()
    content = array.tobytes()
    file.write(content + bytes(-len(content) % _ALIGNMENT))
    return start, len(array)


def _map(path: Path) -> Array:
    """The bytes of a file in place; no file of no bytes can be mapped."""
    return np.memmap(path, np.uint8, "r").view(np.ndarray) if path.stat().st_size else np.zeros(0, np.uint8)


def _digest(identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _write_left_out(path: Path, reasons: Mapping[str, str]) -> None:
    """Leaves a file alone that says the same, as a store may lie where nothing can be written."""
    text = json.dumps(reasons, indent=1, ensure_ascii=False)
    written = path.read_text(encoding="utf-8") if path.exists() else "{}"
    if text != written:
        with atomic_write(path) as aside:
            aside.write_text(text, encoding="utf-8")
