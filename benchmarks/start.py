"""How long a command takes from its start to its end, in CPU time, beside `import torch` in the same minutes."""

from __future__ import annotations

import argparse
import datetime
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from report import print_versions

SPEECH = Path(__file__).parent.parent / "examples" / "data" / "speech.flac"
FIRST = "torch, from_pretrained and encode"
LIBRARY = f"import torch; from semtok import Tokenizer; Tokenizer.from_pretrained('tiny').encode({str(SPEECH)!r})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs, of which the median counts")
    options = parser.parse_args()
    print_versions(torch.get_num_threads())
    print(f"{datetime.datetime.now():%Y-%m-%d}; {SPEECH.name}, median of {options.repeats}.\n")
    with tempfile.TemporaryDirectory() as folder:
        tokens, wav = f"{folder}/a.safetensors", f"{folder}/a.wav"
        semtok = ["-m", "semtok"]
        commands = {
            "import torch": ["-c", "import torch"],
            FIRST: ["-c", LIBRARY],
            "semtok --help": [*semtok, "--help"],
            "semtok encode": [*semtok, "encode", str(SPEECH), "-o", tokens],
            "semtok decode": [*semtok, "decode", tokens, "-o", wav],
            "semtok speak": [*semtok, "speak", "Good morning.", "-o", wav],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(options.repeats + 1):
            for name, arguments in commands.items():
                spent = cpu_seconds([sys.executable, *arguments])
                # The first round brings the files into memory.
                if number > 0:
                    seconds[name].append(spent)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("| process | s of CPU time | x import torch |\n|---|---:|---:|")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} | {median / medians['import torch']:.2f} |")


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
