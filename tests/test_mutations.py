"""A few of the random mutations of `mutations.py`, of every kind of file that strangers may have written."""

from __future__ import annotations

import json
import random

import pytest
from mutations import KINDS, RAW_VALUES, Kind, mutate_json, run

COUNT = 15


@pytest.mark.parametrize("name", KINDS)
def test_mutations_are_loaded_or_refused(name, tmp_path):
    counts = run(KINDS[name](tmp_path / name), COUNT, seed=1)
    assert counts.wrong == {}
    assert counts.loaded + counts.refused == COUNT
    assert counts.refused > COUNT // 10


def test_what_is_neither_loaded_nor_refused_is_counted(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}')
    kind = Kind([path], lambda path: json.loads(path.read_text(encoding="utf-8", errors="replace")))
    counts = run(kind, 50)
    assert counts.wrong
    assert counts.refused == 0
    assert path.read_text() == '{"a": 1}'


def test_mutations_are_the_same_for_a_seed_and_of_all_sorts():
    drawn = [mutate_json('{"a": [1, {"b": 2}]}', random.Random(number)) for number in range(500)]
    assert drawn == [mutate_json('{"a": [1, {"b": 2}]}', random.Random(number)) for number in range(500)]
    assert len(set(drawn)) > 200
    assert all(any(raw in text for text in drawn) for raw in RAW_VALUES)
