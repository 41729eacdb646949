from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(
    ("script", "peer", "subjects"),
    [
        ("encode.py", "transformers, all layers", ["layers 1, 3, 7", "layers 1, 3, 7, 12, 18, 23"]),
        ("decode.py", "transformers, HiFi-GAN V1", ["tiny, layers 1, 3, 7", "HiFi-GAN V1, layers 1, 3, 7, 12, 18, 23"]),
    ],
)
def test_a_benchmark_prints_where_and_how_fast(script, peer, subjects, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--quick"])
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    printed = capsys.readouterr().out

    assert "threads; Python" in printed
    rows = {
        name: (speed, ratio)
        for name, speed, ratio in re.findall(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \|$", printed, re.M)
    }
    assert rows.keys() >= {peer, *subjects}
    assert rows[peer][1] == "1.00"
    assert all(float(speed) > 0 for speed, _ in rows.values())
