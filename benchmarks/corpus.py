"""A corpus into files of tokens: how fast beside `encode` of the list, and how much memory by the number of clips.

python benchmarks/corpus.py                     # 300 clips of 1 to 10 s, `tiny`; 1,000 to 100,000 short clips
python benchmarks/corpus.py --memory 1000 10000

OMP_NUM_THREADS sets how many threads torch uses.
"""

from __future__ import annotations

import argparse
import datetime
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from report import median_seconds, print_versions

from semtok import Tokenizer, corpus, load_audio, save_audio

SPEECH = Path(__file__).parent.parent / "examples" / "data" / "speech.flac"
SAMPLE_RATE = 16000
SEGMENT_SECONDS = 0.05


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=300, help="of the measurement of speed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 10_000, 100_000], help="numbers of clips")
    parser.add_argument("--quick", action="store_true", help="a smoke test: few clips, no memory")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print_peak(options.one)
        return
    if options.quick:
        options.clips, options.repeats, options.memory = 6, 1, []
    print_versions(torch.get_num_threads())
    print(f"{datetime.date.today()}; median of {options.repeats}.")
    with tempfile.TemporaryDirectory() as name:
        measure_speed(Path(name), options.clips, options.repeats)
        measure_memory(Path(name), options.memory)


def measure_speed(folder: Path, clips: int, repeats: int) -> None:
    """`encode_corpus` and `encode` of the same files, in turns."""
    speech, generator = load_audio(SPEECH), np.random.default_rng(0)
    audio = folder / "audio"
    audio.mkdir()
    paths = [audio / f"{number:05}.flac" for number in range(clips)]
    for path in paths:
        length = int(generator.uniform(1, 10) * SAMPLE_RATE)
        save_audio(path, torch.roll(speech, int(generator.integers(len(speech)))).repeat(2)[:length])
    tokenizer = Tokenizer.from_pretrained("tiny")
    tokenizer.encode(paths[:4])
    outputs = iter(range(1000))
    times = median_seconds(
        {
            "encode(list)": lambda: tokenizer.encode(paths),
            "encode_corpus": lambda: corpus.encode_corpus(tokenizer, audio, folder / str(next(outputs))),
        },
        repeats,
        warm=True,
    )
    seconds = sum(clip.duration for clip in corpus.read(folder / "0"))
    print(f"\n| {clips} clips, {seconds:.0f} s | s | x real time | x encode(list) |\n|---|---:|---:|---:|")
    for name, value in times.items():
        print(f"| {name} | {value:.2f} | {seconds / value:.1f} | {times['encode(list)'] / value:.2f} |")


def measure_memory(folder: Path, counts: list[int]) -> None:
    """Peak memory of a process for each number of clips, segments of one file."""
    save_audio(folder / "speech.wav", load_audio(SPEECH).repeat(20))
    print("\n| clips | peak memory, MiB | s |\n|---:|---:|---:|")
    for count in counts:
        manifest = folder / f"{count}.csv"
        rows = (f"{number},speech.wav,{number % 1000 * 0.05:.2f},{SEGMENT_SECONDS}" for number in range(count))
        manifest.write_text("id,path,start,duration\n" + "\n".join(rows))
        command = [sys.executable, __file__, "--one", str(manifest)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def print_peak(manifest: Path) -> None:
    """Encodes a corpus and prints the memory that this process came to."""
    tokenizer = Tokenizer.from_pretrained("tiny", layers=[1])
    done = corpus.encode_corpus(tokenizer, manifest, manifest.with_suffix(""), num_shards=10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {done.clips} | {peak:.0f} | {done.took:.0f} |")


if __name__ == "__main__":
    main()
