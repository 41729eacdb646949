"""Tokens made in a training loop beside tokens made before it: what an epoch over the same clips takes.

python benchmarks/in_the_loop.py                     # 120 clips of 2 to 10 s, `tiny`, batches of 8, one worker
python benchmarks/in_the_loop.py --workers 2 --batch 16 --device cuda

OMP_NUM_THREADS sets how many threads torch uses. The encoder runs where `--device` says.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import median_seconds, print_versions
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from semtok import Tokenizer, corpus, load_audio, save_audio

SPEECH = Path(__file__).parent.parent / "examples" / "data" / "speech.flac"
SAMPLE_RATE = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 7])
    parser.add_argument("--quick", action="store_true", help="a smoke test: few clips")
    options = parser.parse_args()
    if options.quick:
        options.clips, options.batch, options.repeats = 4, 2, 1
    print_versions(torch.get_num_threads())
    print(
        f"{datetime.date.today()}; `tiny`, layers {options.layers} on {options.device}, batches of {options.batch}, ",
        end="",
    )
    print(f"{options.workers} workers, median of {options.repeats}.\n")
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Prints what each way to have the tokens of all clips takes, in x real time."""
    paths, seconds = write_clips(folder / "audio", options.clips)
    tokenizer = Tokenizer.from_pretrained("tiny", layers=options.layers, device=options.device)
    corpus.encode_corpus(tokenizer, folder / "audio", folder / "tokens")
    tokens = corpus.read(folder / "tokens")
    number = 0

    def encode_corpus() -> None:
        nonlocal number
        number += 1
        corpus.encode_corpus(tokenizer, folder / "audio", folder / f"tokens-{number}")

    loader = DataLoader(paths, options.batch, num_workers=options.workers, collate_fn=collate)
    runs = {
        "before: `encode_corpus`, once": encode_corpus,
        "before: read again, each epoch": lambda: exhaust(clip.tokens.codes for clip in tokens),
        "in the loop, each epoch": lambda: exhaust(encode(tokenizer, loader)),
        "of that, reading by the workers": lambda: exhaust(batch["audio"] for batch in loader),
    }
    print("| tokens | s an epoch | x real time |\n|---|---:|---:|")
    for name, took in median_seconds(runs, options.repeats).items():
        print(f"| {name} | {took:.2f} | {seconds / took:,.0f} |")


def write_clips(folder: Path, clips: int) -> tuple[list[str], float]:
    """Recordings of 2 to 10 s; their paths, and how many seconds they are."""
    speech, generator = load_audio(SPEECH), np.random.default_rng(0)
    folder.mkdir()
    paths, samples = [str(folder / f"{number:05}.flac") for number in range(clips)], 0
    for path in paths:
        length = int(generator.uniform(2, 10) * SAMPLE_RATE)
        save_audio(path, torch.roll(speech, int(generator.integers(len(speech)))).repeat(3)[:length])
        samples += length
    return paths, samples / SAMPLE_RATE


def collate(paths: list[str]) -> dict[str, Any]:
    clips = [load_audio(path) for path in paths]
    return {"audio": pad_sequence(clips, batch_first=True), "samples": [len(clip) for clip in clips]}


def encode(tokenizer: Tokenizer, loader: Any) -> Iterator[Tensor]:
    for batch in loader:
        audio = batch["audio"].to(tokenizer.device, non_blocking=True)
        yield tokenizer.encode(audio, lengths=batch["samples"], finite=True).codes


def exhaust(tensors: Iterable[Tensor]) -> None:
    """Has all tensors made, and waits for the device."""
    if next(reversed(list(tensors))).device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
