"""Suites of pairs of recordings, one right and one wrong, by which language models of speech are judged.

sWUGGY and sBLIMP (Nguyen et al., "The Zero Resource Speech Benchmark 2021", 2020), spoken and topic StoryCloze (Hassid
et al., "Textually Pretrained Speech Language Models", 2023) and SALMon (Maimon et al., "A Suite for Acoustic Language
Model Evaluation", 2024), in the folders in which their owners publish them.
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from semtok.audio.files import AUDIO_SUFFIXES
from semtok.errors import SemtokError

_GOLD, _PAIRS = "gold.csv", "pairs.csv"
_WRONG = re.compile(r"incorrect|wrong|false|negative", re.IGNORECASE)
_SALMON = re.compile(r"\D+_(\d+)_\D*(\d+)")
_NUMBERED = re.compile(r"(\d+)(?!\d)")

_LAYOUTS = (
    f"ZeroSpeech's folder with {_GOLD} (filename, id, voice, correct), SALMon's sample_NUMBER_HALF.wav, StoryCloze's "
    f"NUMBER_*.wav two a number or one after the other, or {_PAIRS} (positive, negative)"
)


@dataclass(frozen=True)
class Pair:
    """Two recordings, of which a model should find `positive` the likelier one.

    Args:
        item: what is asked; the voices that ask the same count as one.
        group: of items, such as a type of sentences; empty without.
    """

    item: str
    positive: Path
    negative: Path
    group: str = ""


_Halves: TypeAlias = tuple[Path | None, Path | None]


def read_suite(folder: str | os.PathLike[str]) -> dict[str, list[Pair]]:
    """The pairs of each task below a folder, by the path of the task's folder in it (that itself is by its name).

    Raises:
        SemtokError: there is no such folder, no task in it, a task in a layout that is not known, or pairs of which a
            half is missing, all of which are named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SemtokError(f"there is no suite in {folder}: expected a folder with {_LAYOUTS}")
    tasks: dict[str, list[Pair]] = {}
    lost: list[str] = []
    for place in sorted([folder, *(path for path in folder.rglob("*") if path.is_dir())]):
        reader = _find_reader(place)
        if reader is not None:
            name = place.relative_to(folder).as_posix()
            tasks[folder.resolve().name if name == "." else name] = list(_whole(reader(place), place, lost))
    if lost:
        raise SemtokError(f"{len(lost)} pairs of {folder} lack a half: {'; '.join(lost)}. Fetch the suite again")
    if not any(tasks.values()):
        raise SemtokError(f"there are no pairs of recordings in {folder}: expected {_LAYOUTS}")
    return tasks


def _find_reader(folder: Path) -> Callable[[Path], Iterator[tuple[str, str, _Halves]]] | None:
    if (folder / _GOLD).is_file():
        return _read_gold
    if (folder / _PAIRS).is_file():
        return _read_pairs
    names = [path.stem for path in _recordings(folder)]
    # recordings of a gold file may lie a folder deeper
    if not names or (folder.parent / _GOLD).is_file() or (folder.parent / _PAIRS).is_file():
        return None
    if all(_SALMON.fullmatch(name) for name in names):
        return _read_salmon
    if all(_NUMBERED.match(name) for name in names):
        return _read_numbered
    odd = next(name for name in names if not _NUMBERED.match(name))
    raise SemtokError(f"{folder} is no suite of pairs, as {odd!r} is none of a pair: expected {_LAYOUTS}")


def _whole(pairs: Iterator[tuple[str, str, _Halves]], folder: Path, lost: list[str]) -> Iterator[Pair]:
    """Pairs with both halves; of others it is noted which half is missing."""
    for item, group, (positive, negative) in pairs:
        if positive is None or negative is None:
            there = positive or negative
            which = "right" if positive is None else "wrong"
            lost.append(f"{folder / item} has no {which} half" + (f" beside {there.name}" if there else ""))
        else:
            yield Pair(item, positive, negative, group)


def _read_gold(folder: Path) -> Iterator[tuple[str, str, _Halves]]:
    """ZeroSpeech: the two recordings of an id in a voice; the group is the type, or whether the word is in use."""
    halves: dict[tuple[str, str], dict[bool, tuple[Path | None, str]]] = defaultdict(dict)
    for row in _rows(folder / _GOLD, ("filename", "id", "correct")):
        right = row["correct"].strip() in ("1", "1.0", "True", "true")
        group = row.get("type") or ("out of vocabulary" if row.get("frequency") == "oov" else "")
        halves[row["id"], row.get("voice") or ""][right] = (_existing(folder, row["filename"]), group)
    for (item, voice), of_pair in halves.items():
        (positive, group), (negative, _) = (of_pair.get(right, (None, "")) for right in (True, False))
        lacking = positive is None or negative is None
        yield (f"{item} ({voice})" if lacking and voice else item), group, (positive, negative)


def _read_pairs(folder: Path) -> Iterator[tuple[str, str, _Halves]]:
    for number, row in enumerate(_rows(folder / _PAIRS, ("positive", "negative"))):
        halves = _existing(folder, row["positive"]), _existing(folder, row["negative"])
        yield row.get("item") or str(number), row.get("group") or "", halves


def _read_salmon(folder: Path) -> Iterator[tuple[str, str, _Halves]]:
    """SALMon: of a number's two recordings the first is the right one."""
    by_number: dict[int, dict[int, Path]] = defaultdict(dict)
    for path in _recordings(folder):
        match = _SALMON.fullmatch(path.stem)
        assert match is not None
        by_number[int(match[1])][int(match[2])] = path
    first = min(half for halves in by_number.values() for half in halves)
    for number, halves in sorted(by_number.items()):
        yield str(number), "", (halves.get(first), halves.get(first + 1))


def _read_numbered(folder: Path) -> Iterator[tuple[str, str, _Halves]]:
    """StoryCloze: two recordings a number, one of them named as wrong; or numbers in turn, the right one even."""
    by_number: dict[int, list[Path]] = defaultdict(list)
    for path in _recordings(folder):
        match = _NUMBERED.match(path.stem)
        assert match is not None
        by_number[int(match[1])].append(path)
    if any(_WRONG.search(path.stem) for paths in by_number.values() for path in paths):
        for number, paths in sorted(by_number.items()):
            wrong = [path for path in paths if _WRONG.search(path.stem)]
            right = [path for path in paths if path not in wrong]
            _check_one(folder, number, right, wrong)
            yield str(number), "", (right[0] if right else None, wrong[0] if wrong else None)
        return
    for number, paths in by_number.items():
        _check_one(folder, number, paths, [])
    for even in sorted({number - number % 2 for number in by_number}):
        one, other = (by_number[number][0] if number in by_number else None for number in (even, even + 1))
        yield str(even), "", (one, other)


def _check_one(folder: Path, number: int, *halves: Sequence[Path]) -> None:
    for paths in halves:
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise SemtokError(
                f"{folder} has {len(paths)} recordings for one half of pair {number}: {names}. Expected one right and "
                "one wrong, the wrong one with 'incorrect' in its name"
            )


def _recordings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())


def _existing(folder: Path, name: str) -> Path | None:
    """The recording of that name, with or without its suffix."""
    path = folder / name
    ends = [""] if path.suffix.lower() in AUDIO_SUFFIXES else AUDIO_SUFFIXES
    candidates = (path.with_name(path.name + end) for end in ends)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _rows(file: Path, columns: Sequence[str]) -> list[Mapping[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened)
        if lacking := set(columns) - set(reader.fieldnames or ()):
            raise SemtokError(f"{file} has no columns {', '.join(sorted(lacking))}: expected {_LAYOUTS}")
        return list(reader)
