"""The store: shards appear whole, a run that was stopped goes on, and what changed is made anew."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import files_in, refuses
from torch import Tensor

from semtok.errors import AudioError, SemtokError
from semtok.speech.clip import Clip
from semtok.speech.store import Copies, Form, Part, Processes, open_store

CLIPS = [Clip(f"clip {number}", f"{number}.wav", columns={"speaker": f"s{number % 2}"}) for number in range(7)]


@dataclass
class Counter:
    """Makes sums of pairs of samples, and those of a louder copy; counts the clips."""

    identity: Any = "pairs"
    stop: Callable[[int], None] = lambda clips: None
    clips: int = field(default=0, compare=False)

    forms: ClassVar = {"pairs": Form(np.dtype(np.uint32), (2,)), "mean": Form(np.dtype(np.float16))}

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        for number, waveform in reversed(list(enumerate(waveforms))):
            self.stop(self.clips)
            self.clips += 1
            if len(waveform) < 2:
                yield number, AudioError("too short")
                continue
            copies = [gain * waveform.numpy() for gain in (1, 70_000)]
            yield (
                number,
                [
                    {
                        "pairs": copy[: len(copy) // 2 * 2].reshape(-1, 2).astype(np.uint32),
                        "mean": waveform.numpy().mean(keepdims=True).astype(np.float16),
                    }
                    for copy in copies
                ],
            )


def waveform(number: int) -> Tensor:
    """Of 2, 3, 4 ... samples, which count up from the number."""
    return torch.arange(number, 2 * number + 2, dtype=torch.float32)


def parts(*sizes: int, waveforms: Callable[[int], Any] = waveform, listed: bool = True) -> list[Part]:
    """Parts of so many clips each; what a part is made of is what its identity says."""
    answer, first = [], 0
    for size in sizes:
        numbers = range(first, first + size)
        made_of = [str(waveforms(number)) for number in numbers]

        def read(numbers: range = numbers) -> Iterator[tuple[Clip, Tensor | AudioError]]:
            return ((CLIPS[number], waveforms(number)) for number in numbers)

        answer.append(Part(made_of, read, CLIPS[first : first + size] if listed else ()))
        first += size
    return answer


def shards(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("[!.]*/index.json"))


def assert_holds(store: Any, waveforms: Callable[[int], Tensor] = waveform, clips: Sequence[Clip] = CLIPS) -> None:
    assert store.clips == list(clips)
    for number, clip in enumerate(clips):
        expected = waveforms(CLIPS.index(clip)).numpy()
        pairs = expected[: len(expected) // 2 * 2].reshape(-1, 2).astype(np.int64)
        assert np.array_equal(store["pairs"][number], pairs)
        assert np.array_equal(store["pairs"][number, 1], 70_000 * pairs), "more than 16 bits"
        assert np.array_equal(store["pairs"][number, 1, 1:3], 70_000 * pairs[1:3])
        assert store["mean"][number, 0] == pytest.approx(expected.mean(), rel=1e-3)
        assert store["pairs"].lengths[number] == len(pairs)
        assert store["pairs"].copies(number) == 2


def test_arrays_come_back_by_clip_copy_and_rows(tmp_path):
    maker = Counter()
    assert_holds(open_store(parts(3, 1, 3), maker, tmp_path))
    assert_holds(open_store(parts(3, 1, 3), maker, tmp_path))
    assert maker.clips == 7, "made once"
    store = open_store(parts(3, 1, 3), maker, tmp_path)
    assert store["pairs"][0].dtype == np.uint32 and store["mean"][0].dtype == np.float16
    assert not store["pairs"][0].flags.writeable
    for place in (7, -1, (0, 2)):
        with pytest.raises(IndexError):
            store["pairs"][place]


def test_many_clips_go_to_the_maker_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("semtok.speech.store._BLOCK_SAMPLES", 6)
    assert_holds(open_store(parts(7), Counter(), tmp_path))


@pytest.mark.parametrize("clips", range(7))
def test_a_process_that_is_killed_loses_one_shard(tmp_path, clips):
    def kill(done: int) -> None:
        if done == clips:
            os._exit(9)

    if not (child := os.fork()):
        open_store(parts(2, 2, 3), Counter(stop=kill), tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    maker = Counter()
    assert_holds(open_store(parts(2, 2, 3), maker, tmp_path))
    assert maker.clips == {0: 7, 1: 7, 2: 5, 3: 5}.get(clips, 3)
    assert len(shards(tmp_path)) == 3


def test_an_old_half_of_a_shard_is_removed(tmp_path):
    leftover = tmp_path / ".shard.0.tmp"
    leftover.mkdir()
    (leftover / "values").touch()
    os.utime(leftover, (0, 0))
    open_store(parts(7), Counter(), tmp_path)
    assert not leftover.exists() and len(shards(tmp_path)) == 1


def test_only_what_changed_is_made_anew(tmp_path):
    before = open_store(parts(3, 1, 3), Counter(), tmp_path)

    def replaced(number: int) -> Tensor:
        return waveform(number) + (number == 4)

    maker = Counter()
    after = open_store(parts(3, 1, 3, waveforms=replaced), maker, tmp_path)
    assert_holds(after, replaced)
    assert maker.clips == 3 and after.digest != before.digest
    again, other = Counter(), Counter("other pairs")
    assert open_store(parts(3, 1, 3), again, tmp_path).digest == before.digest and again.clips == 0
    assert open_store(parts(3, 1, 3), other, tmp_path).digest != before.digest and other.clips == 7


def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path, capsys):
    def broken(number: int) -> Tensor | AudioError:
        return {1: AudioError("no audio: é"), 3: torch.ones(1)}.get(number, waveform(number))

    for _ in range(2):
        store = open_store(parts(4, 3, waveforms=broken), Counter(), tmp_path)
        assert_holds(store, clips=[CLIPS[number] for number in (0, 2, 4, 5, 6)])
        assert store.left_out == {"clip 1": "no audio: é", "clip 3": "too short"}
        assert store.numbers == [0, 2, 4, 5, 6]
    assert json.loads((tmp_path / "left_out.json").read_text(encoding="utf-8")) == store.left_out
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("5 clips, 2 left out, the reasons are in") == 1, "said where something was made"


def test_a_source_whose_clips_are_known_by_reading_is_read_once(tmp_path):
    for _ in range(2):
        maker = Counter()
        assert_holds(open_store(parts(4, 3, listed=False), maker, tmp_path))
    assert maker.clips == 0


def test_clips_are_as_they_are_listed_now(tmp_path):
    open_store(parts(7), Counter(), tmp_path)
    (part,) = parts(7)
    renamed = [Clip(f"new {clip.id}", clip.path) for clip in CLIPS]
    store = open_store([Part(part.identity, part.read, renamed)], Counter(), tmp_path)
    assert store.clips == renamed


def test_nothing_at_all_can_be_stored(tmp_path):
    store = open_store([], Counter(), tmp_path / "none")
    assert len(store) == 0 and store["pairs"].lengths.tolist() == []
    assert not (tmp_path / "none").exists()


def test_processes_make_a_share_each_and_read_once_all_is_made(tmp_path):
    barrier, makers, stores = threading.Barrier(2), [Counter(), Counter()], {}

    def run(index: int) -> None:
        stores[index] = open_store(
            parts(2, 2, 1, 2), makers[index], tmp_path, processes=Processes(index, 2, barrier.wait)
        )

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [maker.clips for maker in makers] == [3, 4]
    for index in range(2):
        assert_holds(stores[index])


def test_two_runs_that_share_a_folder_do_no_harm(tmp_path):
    stores = []

    def race(done: int) -> None:
        if done == 1:
            stores.append(open_store(parts(7), Counter(), tmp_path))

    stores.append(open_store(parts(7), Counter(stop=race), tmp_path))
    for store in stores:
        assert_holds(store)


@pytest.mark.parametrize("name", ["values", "index.json"])
@pytest.mark.parametrize("damage", ["cut at the end", "cut in the middle", "empty", "longer", "gone"])
def test_a_damaged_shard_is_made_anew(tmp_path, name, damage):
    open_store(parts(4, 3), Counter(), tmp_path)
    file = shards(tmp_path)[0] / name
    content = file.read_bytes()
    content = {
        "cut at the end": content[:-1],
        "cut in the middle": content[: len(content) // 2],
        "empty": b"",
        "longer": content + b"x",
        "gone": content,
    }[damage]
    file.unlink() if damage == "gone" else file.write_bytes(content)
    maker = Counter()
    assert_holds(open_store(parts(4, 3), maker, tmp_path))
    assert maker.clips in (3, 4)


def test_an_index_that_says_something_else_is_made_anew(tmp_path):
    open_store(parts(7), Counter(), tmp_path)
    file = shards(tmp_path)[0] / "index.json"
    file.write_text(file.read_text().replace('"number": 1', '"number": 2'))
    maker = Counter()
    assert_holds(open_store(parts(7), maker, tmp_path))
    assert maker.clips == 7


def test_a_full_disk_harms_nothing(tmp_path):
    def full(done: int) -> None:
        if done == 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    with refuses(SemtokError, str(tmp_path), "is full", "run again"):
        open_store(parts(4, 3), Counter(stop=full), tmp_path)
    assert [Path(name).name for name in files_in(tmp_path)] == ["index.json", "values"]
    maker = Counter()
    assert_holds(open_store(parts(4, 3), maker, tmp_path))
    assert maker.clips == 3


def test_a_store_of_a_store_follows_it(tmp_path):
    def sums(number: int) -> Tensor:
        return torch.from_numpy(store["pairs"][number].astype(np.float32)).flatten()

    def expected(number: int) -> Tensor:
        return waveform(number)[: len(waveform(number)) // 2 * 2]

    store = open_store(parts(4, 3), Counter(), tmp_path)
    assert_holds(open_store(store.parts(sums), Counter(), tmp_path / "sums"), expected)
    store = open_store(parts(4, 3, waveforms=lambda number: waveform(number) + (number == 5)), Counter(), tmp_path)
    maker = Counter()
    derived = open_store(store.parts(sums), maker, tmp_path / "sums")
    assert maker.clips == 3
    assert_holds(derived, lambda number: expected(number) + (number == 5))


def test_a_maker_that_breaks_its_word_is_stopped(tmp_path):
    class Wrong(Counter):
        forms: ClassVar = {"pairs": Form(np.dtype(np.int16), (2,)), "mean": Form(np.dtype(np.float16))}

    with pytest.raises(TypeError, match="expected int16"):
        open_store(parts(7), Wrong(), tmp_path)
