from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(
    ("command", "rows"),
    [
        (["long_audio.py", "agreement"], ["whole pass, sentences", "2 s, 0.5 s", "2 s, 1 s"]),
        (["long_audio.py", "cost"], ["0.1"]),
        (["streaming.py"], ["0.08 s", "1 s", "0.32 s, 1 s"]),
    ],
)
def test_a_benchmark_prints_where_and_what(command, rows, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [*command, "--quick"])
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    runpy.run_path(str(BENCHMARKS / command[0]), run_name="__main__")
    printed = capsys.readouterr().out
    assert "threads; Python" in printed
    tables = dict(re.findall(r"^\| (.+?) \| ([\d. |]+) \|$", printed, re.M))
    assert tables.keys() >= set(rows)
    assert all(float(value) > 0 for row in rows for value in tables[row].split(" | "))
