"""`semtok live`: how much later speech comes out of a pipe, measured on what comes out.

python benchmarks/live.py [--speech FILE] [-- OPTIONS OF semtok live]

A recording goes into the command at the pace of speech, 20 ms at a time, and the time at which each sample comes out is
noted. Where the speech is in the output is measured by the correlation of the loudness over time of input and output.
"""

from __future__ import annotations

import argparse
import datetime
import io
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from report import print_versions

from semtok import load_audio

SPEECH = Path(__file__).parent.parent / "examples" / "data" / "speech.flac"
RATE, PIECE = 16000, 320
# Of the loudness: its window, and the samples from one to the next.
WINDOW, STEP = 320, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--quick", action="store_true", help="a few seconds: tries the script")
    parser.add_argument("options", nargs="*", help="of semtok live")
    options = parser.parse_args()
    speech = load_audio(options.speech)[: 3 * RATE if options.quick else None].numpy()
    print_versions(torch.get_num_threads())
    print(f"{datetime.datetime.now():%Y-%m-%d}; {len(speech) / RATE:.1f} s of {options.speech.name}\n")
    came_out, late, report = pipe(speech, options.options)
    lag = correlation_lag(speech, came_out)
    print("| delay | s |\n|---|---:|")
    print(f"| by correlation, in the samples that come out | {lag / RATE:.3f} |")
    print(f"| the samples come out after those in their place went in: median | {np.median(late):.3f} |")
    print(f"| the latest | {max(late):.3f} |")
    print(f"\n{report}")


def pipe(speech: NDArray[np.float32], options: list[str]) -> tuple[NDArray[np.float32], list[float], str]:
    """What comes out, how much later than what was spoken by then each piece came, what the command says."""
    command = [sys.executable, "-m", "semtok", "live", "-", "-o", "-", *options]
    pieces = [(speech[start : start + PIECE] * 32767).round() for start in range(0, len(speech), PIECE)]
    arrivals: list[tuple[float, bytes]] = []
    with (
        tempfile.TemporaryFile() as report,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=report) as process,
    ):
        listener = threading.Thread(target=listen, args=(process.stdout, arrivals))
        listener.start()
        began = time.monotonic()
        assert process.stdin is not None
        for number, piece in enumerate(pieces):
            time.sleep(max(0.0, began + number * PIECE / RATE - time.monotonic()))
            process.stdin.write(piece.astype("<i2").tobytes())
            process.stdin.flush()
            if number == 0:
                # The clock starts with the first answer: the command takes seconds to load its models.
                while not arrivals:
                    time.sleep(0.001)
                began = time.monotonic()
        process.stdin.close()
        listener.join()
        report.seek(0)
        words = report.read().decode().strip()
    late, samples = [], 0
    for moment, data in arrivals:
        samples += len(data) // 2
        if PIECE < samples <= len(speech):
            # The last of these samples takes the place of one that went in with its piece.
            late.append(moment - began - (samples - PIECE) / RATE)
    out = np.frombuffer(b"".join(data for _, data in arrivals), "<i2").astype(np.float32) / 32767
    return out, late, words


def listen(file: io.BufferedReader, arrivals: list[tuple[float, bytes]]) -> None:
    """Notes what comes, and when."""
    while data := file.read1(1 << 16):
        arrivals.append((time.monotonic(), data))


def correlation_lag(speech: NDArray[np.float32], delayed: NDArray[np.float32]) -> int:
    """Samples by which `delayed` follows, where the correlation of their loudness is highest."""
    one, other = loudness(speech), loudness(delayed)
    size = len(one) + len(other)
    spectrum = np.fft.rfft(other - other.mean(), size) * np.fft.rfft(one - one.mean(), size).conj()
    return int(np.fft.irfft(spectrum, size)[: len(other)].argmax()) * STEP


def loudness(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Root of the mean square of windows, [samples / STEP]."""
    squares = np.concatenate([np.zeros(1), np.cumsum(np.square(samples, dtype=np.float64))])
    starts = np.arange(0, len(samples) - WINDOW, STEP)
    return np.sqrt((squares[starts + WINDOW] - squares[starts]) / WINDOW).astype(np.float32)


if __name__ == "__main__":
    main()
