"""Smoke tests: every benchmark runs on a few seconds of speech and prints its tables."""

from __future__ import annotations

import itertools
import re

import pytest
from task_models import make_model

from semtok import Tokenizer


@pytest.mark.parametrize(
    ("script", "peer", "subjects"),
    [
        ("encode.py", "transformers, all layers", ["layers 1, 3, 7", "layers 1, 3, 7, 12, 18, 23"]),
        ("decode.py", "transformers, HiFi-GAN V1", ["tiny, layers 1, 3, 7", "HiFi-GAN V1, layers 1, 3, 7, 12, 18, 23"]),
    ],
)
def test_a_benchmark_prints_where_and_how_fast(script, peer, subjects, run_script):
    printed = run_script(f"benchmarks/{script}", "--quick")

    assert "threads; Python" in printed
    rows = {
        name: (speed, ratio)
        for name, speed, ratio in re.findall(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \|$", printed, re.M)
    }
    assert rows.keys() >= {peer, *subjects}
    assert rows[peer][1] == "1.00"
    assert all(float(speed) > 0 for speed, _ in rows.values())


def test_many_clips_are_compared_with_a_loop(run_script):
    printed = run_script("benchmarks/many_clips.py", "--quick", "--profile")

    assert "6 clips of 0.5 to 2 s" in printed
    rows = dict(re.findall(r"^\| (.+) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|$", printed, re.M))
    assert rows.pop("loop, one by one") == "1.00"
    assert len(rows) == 1
    assert re.search(r"^\d+ of \d+ tokens differ, 0 of them without a tie", printed, re.M)
    assert re.search(r"^\| decoding audio \| [\d.]+ \| \d+ % \|$", printed, re.M)
    shares = re.findall(r"^\| ([a-z ]+) \| (-?[\d.]+) % \|$", printed.partition("GFLOP/s")[2], re.M)
    assert {"convolutions", "feed forward", "nearest centroids"} <= {part for part, _ in shares}
    assert sum(float(share) for _, share in shares) == pytest.approx(100, abs=1)


def test_a_corpus_is_compared_with_a_list(run_script):
    printed = run_script("benchmarks/corpus.py", "--quick")
    rows = dict(re.findall(r"^\| (.+) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|$", printed, re.M))
    assert rows.keys() == {"encode(list)", "encode_corpus"} and rows["encode(list)"] == "1.00"


def test_tokens_in_the_loop_are_compared_with_tokens_made_before(run_script):
    printed = run_script("benchmarks/in_the_loop.py", "--quick")
    rows = re.findall(r"^\| (.+) \| [\d.]+ \| [\d,]+ \|$", printed, re.M)
    assert len(rows) == 4 and "in the loop, each epoch" in rows


def test_recognition_is_compared_with_tokens_alone(tmp_path, run_script):
    make_model("lstm", Tokenizer.from_pretrained("tiny"), "tiny").save_pretrained(tmp_path)
    printed = run_script("benchmarks/recognize.py", "--quick", "--model", tmp_path)
    rows = dict(re.findall(r"^\| (.+) \| [\d.]+ \| ([\d.]+) \|$", printed, re.M))
    assert rows["tokens alone"] == "1.00"
    assert rows.keys() > {"text of speech", "text of speech, beam of 8", "text of tokens that are there"}


def test_tokens_in_half_precision_are_counted_by_stage(run_script):
    printed = run_script("benchmarks/precision.py")
    rows = re.findall(r"^\| (\d) \| (\d) \| ([\d.]+) % \| ([\d.]+) % \|$", printed, re.M)

    codebooks = Tokenizer.from_pretrained("tiny").codebooks
    counts = zip(codebooks.layers, codebooks.stages, strict=True)
    stages = [(layer, stage + 1) for layer, count in counts for stage in range(count)]
    assert [(int(layer), int(stage)) for layer, stage, *_ in rows] == stages
    assert all(80 < float(bfloat16) <= float(float16) <= 100 for *_, bfloat16, float16 in rows)


def test_kmeans_is_compared_with_scikit_learn_and_faiss(run_script):
    printed = run_script("benchmarks/kmeans.py", "--quick")

    assert re.search(r"^\d+ frames, K = 20\.$", printed, re.M)
    rows = re.findall(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \| [\d.]+ \| ([\d.]+) \| [\d.]+ \|$", printed, re.M)
    assert len(rows) == 12
    for method, mean, worst, faster in rows:
        assert 0.5 < float(mean) <= float(worst) < (1.2 if method != "semtok, one pass of partial_fit" else 2)
        assert method != "scikit-learn, fit" or faster == "1.00"


@pytest.mark.parametrize(
    ("command", "rows"),
    [
        (["benchmarks/long_audio.py", "agreement"], ["whole pass, sentences", "2 s, 0.5 s", "2 s, 1 s"]),
        (["benchmarks/long_audio.py", "cost"], ["0.1"]),
        (["benchmarks/streaming.py"], ["0.08 s", "1 s", "0.32 s, 1 s"]),
    ],
)
def test_a_benchmark_of_long_audio_prints_positive_numbers(command, rows, run_script):
    printed = run_script(*command, "--quick")
    assert "threads; Python" in printed
    tables = dict(re.findall(r"^\| (.+?) \| ([\d. |]+) \|$", printed, re.M))
    assert tables.keys() >= set(rows)
    assert all(float(value) > 0 for row in rows for value in tables[row].split(" | "))


def test_the_start_of_commands_is_compared_with_that_of_torch(run_script):
    printed = run_script("benchmarks/start.py", "--repeats", "1")
    rows = dict(re.findall(r"^\| (.+) \| [\d.]+ \| ([\d.]+) \|$", printed, re.M))
    assert rows.pop("import torch") == "1.00"
    assert {"semtok --help", "semtok encode", "semtok decode", "semtok speak"} < rows.keys()
    assert float(rows["semtok --help"]) < 0.5


def test_the_table_of_an_accelerator_has_every_cell(run_script):
    printed = run_script("benchmarks/gpu.py", "--quick")
    rows = re.findall(r"^\| (1, 3, 7(?:, 12, 18, 23)?) \| (\w+) \| (equal|mixed) \| (.+) \| (.+) \|$", printed, re.M)
    dtypes = ("float32", "bfloat16", "float16")
    layers = ("1, 3, 7", "1, 3, 7, 12, 18, 23")
    assert {row[:3] for row in rows} == set(itertools.product(layers, dtypes, ("equal", "mixed"))) and len(rows) == 12
    changed = {row[1]: re.findall(r"\(([\d.]+) %\)", " ".join(row[3:])) for row in rows}
    assert changed["float32"] == ["0.00", "0.00"] and all(float(share) < 50 for share in changed["float16"])
    assert re.search(r"^\| eager \| [\d.]+ \|$", printed, re.M) and "CUDA graph" in printed
    assert "Speech differs by" in printed and re.search(r"^\| encode, float32 \|", printed, re.M)


def test_a_table_of_an_accelerator_ends_in_time(run_script):
    printed = run_script("benchmarks/gpu.py", "--quick", "--minutes", "0")
    assert "no time" in printed and "No time for more." in printed


def test_the_delay_of_live_speech_is_measured(run_script):
    printed = run_script("benchmarks/live.py", "--quick")
    delays = [float(delay) for delay in re.findall(r"\| ([\d.]+) \|$", printed, re.M)]
    assert len(delays) == 3
    waited = float(re.search(r"([\d.]+) to wait for speech", printed)[1])
    assert delays[0] == pytest.approx(waited, abs=0.05)


def test_memory_is_measured_over_pushes_and_lengths(run_script):
    printed = run_script("benchmarks/memory.py", "--quick")
    rows = re.findall(r"^\| (\d+) \| [\d.]+ \| [\d.]+ \| \d+ \|$", printed, re.M)
    assert rows == 2 * ["2", "4", "6", "8", "10"]
