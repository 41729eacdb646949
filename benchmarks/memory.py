"""Memory and time that must not grow: pushes of live speech, and clips of ever other lengths.

python benchmarks/memory.py [--speech FOLDER ...]

10,000 pushes of 20 ms go through tokens of `tiny` to speech, eight for a block of tokens; then 600 clips of as many
lengths are encoded and decoded.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from joined import add_speech_option, shuffled_recordings
from report import print_versions

from semtok import Tokenizer, Vocoder
from semtok.streaming.live import LiveSpeech

PUSHES, LOOK_AHEAD_SECONDS = 8, 0.32
SHORTEST_SECONDS, STEP_SECONDS = 0.5, 0.01
ROWS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_speech_option(parser)
    parser.add_argument("--blocks", type=int, default=1250)
    parser.add_argument("--clips", type=int, default=600)
    options = parser.parse_args()
    blocks, clips = (2 * ROWS, 2 * ROWS) if options.quick else (options.blocks, options.clips)
    tokenizer, vocoder = Tokenizer.from_pretrained("tiny"), Vocoder.from_pretrained("tiny")
    speech = torch.cat(list(itertools.islice(shuffled_recordings(options.speech), 20)))
    print_versions(torch.get_num_threads())
    print(f"{datetime.datetime.now():%Y-%m-%d}; tiny.")

    rate = tokenizer.sample_rate
    whole = len(speech) // tokenizer.hop_length * tokenizer.hop_length
    pieces = itertools.cycle(speech[:whole].split(tokenizer.hop_length))
    tokens = tokenizer.stream(block_seconds=PUSHES / tokenizer.frame_rate, look_ahead_seconds=LOOK_AHEAD_SECONDS)
    with LiveSpeech(tokens, vocoder.stream(), rate_in=rate, rate_out=vocoder.sample_rate) as line:
        print_rows(f"blocks of {PUSHES} pushes", blocks, lambda _: [line.push(next(pieces)) for _ in range(PUSHES)])

    # Each length once, long and short in turns.
    lengths = [round((SHORTEST_SECONDS + STEP_SECONDS * (number * 7 % clips)) * rate) for number in range(clips)]
    speech = speech.repeat(-(-max(lengths) // len(speech)))
    print_rows("clips", clips, lambda number: vocoder.decode(tokenizer.encode(speech[: lengths[number]])))


def print_rows(what: str, count: int, call: Callable[[int], object]) -> None:
    """A row after each part of the calls: the times of its calls, and the memory after it."""
    print(f"\n| {what} | median, ms | 99 of 100 within, ms | memory, MiB |\n|---|---:|---:|---:|")
    for part in range(ROWS):
        times = []
        for number in range(part * count // ROWS, (part + 1) * count // ROWS):
            start = time.perf_counter()
            call(number)
            times.append(1000 * (time.perf_counter() - start))
        slow = sorted(times)[-1 - len(times) // 100]
        row = f"| {number + 1:,} | {statistics.median(times):.1f} | {slow:.1f} | {resident():.0f} |"
        print(row, flush=True)


def resident() -> float:
    """Memory of this process that lies in RAM, MiB; Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
