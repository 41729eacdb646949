"""What the benchmarks share: options, timing, and a Markdown table that says where and when it was measured."""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

import semtok


def parse_options(description: str, **flags: str) -> argparse.Namespace:
    """The options of every benchmark, and flags of its own, given with their help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads that torch uses")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs, of which the median counts")
    parser.add_argument("--quick", action="store_true", help="one second, one run, small networks: tries the script")
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.repeats = 1.0, 1
    torch.set_num_threads(options.threads)
    return options


def median_seconds(runs: dict[str, Callable[[], object]], repeats: int, *, warm: bool = False) -> dict[str, float]:
    """Median time of each run, in turns, so that a slow spell of the machine hits all alike.

    Without `warm` each runs once before.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(warm - 1, repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat >= 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def print_versions(threads: int) -> None:
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, semtok {semtok.__version__}"
    print(f"{_processor()}, {threads} threads; Python {platform.python_version()}, {versions};")


def print_machine(options: argparse.Namespace) -> None:
    print_versions(options.threads)
    print(f"{datetime.datetime.now():%Y-%m-%d}; {options.seconds:g} s of audio, batch 1, median of {options.repeats}.")


def print_table(subject: str, seconds: dict[str, float], audio_seconds: float, peer: str) -> None:
    """A row for each run: how many times faster than the audio lasts, and than the run called `peer`."""
    print(f"\n| {subject} | x real time | x {peer} |\n|---|---:|---:|")
    for name, value in seconds.items():
        speed = audio_seconds / value
        print(f"| {name} | {speed:.{1 if speed >= 1 else 3}f} | {seconds[peer] / value:.2f} |")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
