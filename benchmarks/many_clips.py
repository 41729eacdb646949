"""How fast 1,000 files become tokens: `encode` of the list, against a loop over the files.

python benchmarks/many_clips.py                                           # 1,000 clips of 0.5 to 20 s, `tiny`
python benchmarks/many_clips.py --encoder wavlm-base --clips 100
python benchmarks/many_clips.py --batch-seconds 10 30 120 --workers 1 2   # how clips are best batched here
python benchmarks/many_clips.py --speechbrain --clips 20                  # WavLM-large, with SpeechBrain installed
python benchmarks/many_clips.py --clips 100 --profile                     # what `encode` of the list spends its time on

OMP_NUM_THREADS sets how many threads torch uses.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from encode_parts import count_flops, matmul_rate, print_profile
from report import median_seconds, print_versions
from torch import Tensor

from semtok import Tokenizer, Tokens, load_audio, save_audio
from semtok.audio.io import read_header
from semtok.encoder import batches
from semtok.speech.reading import Speech

SAMPLE_RATE = 16000
SHORTEST = 0.5
TIE = 1e-5  # relative: below, the two nearest centroids are closer than rounding


def main() -> None:
    options = parse_options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make_clips(options, folder)
        seconds = sum(read_header(path, str(path))[0] for path in paths) / SAMPLE_RATE
        print_versions(torch.get_num_threads())
        lengths = f"{len(paths)} clips of {SHORTEST:g} to {options.longest:g} s, {seconds:.0f} s in all"
        print(f"{datetime.date.today()}; {lengths}; median of {options.repeats}.")
        tokenizer, theirs = load_peers(options, folder) if options.speechbrain else (load_tokenizer(options), None)
        run_benchmark(options, tokenizer, theirs, paths, seconds)


def run_benchmark(
    options: argparse.Namespace,
    tokenizer: Tokenizer,
    theirs: Callable[[Path], object] | None,
    paths: Sequence[Path],
    seconds: float,
) -> None:
    """Times all ways over the same files and prints both tables."""
    last: dict[str, list[Tokens]] = {}

    def loop() -> None:
        last["loop"] = [tokenizer.encode(path) for path in paths]

    def whole(schedule: batches.Schedule) -> None:
        batches.CPU = schedule
        last["list"] = list(tokenizer.encode(paths))

    runs: dict[str, Callable[[], object]] = {"loop, one by one": loop}
    if theirs is not None:
        runs["SpeechBrain, one by one"] = lambda: [theirs(path) for path in paths]
    for batch_seconds, workers in itertools.product(options.batch_seconds, options.workers):
        schedule = batches.Schedule(batch_seconds, workers, running=workers)
        name = f"encode(list), batches of {schedule.batch_seconds:g} s, {schedule.workers} at a time"
        runs[name] = lambda schedule=schedule: whole(schedule)
    tokenizer.encode(paths[:4])
    times = median_seconds(runs, options.repeats, warm=True)
    print("\n| clips to tokens | s | x real time | x loop |\n|---|---:|---:|---:|")
    for name, value in times.items():
        print(f"| {name} | {value:.2f} | {seconds / value:.1f} | {times['loop, one by one'] / value:.2f} |")
    print(f"\n{compare(tokenizer, paths, last['loop'], last['list'])}")
    print_parts(tokenizer, paths, times["loop, one by one"])
    if options.profile:
        print_limit(tokenizer, paths, times[name])


def print_limit(tokenizer: Tokenizer, paths: Sequence[Path], seconds: float) -> None:
    """How near `encode` of the list, which took so many seconds, is to what the machine multiplies; and each part of
    the encoder, of one batch at a time, so that the shares add up."""
    operations = count_flops(lambda: [tokenizer.encode(path) for path in paths])
    width = tokenizer.encoder.dim
    print(f"\n| multiplied and added | GFLOP/s |\n|---|---:|\n| encode(list) | {operations / seconds / 1e9:.0f} |")
    for size in (width, 4 * width):
        print(f"| one product of {size} x {size} matrices | {matmul_rate(torch.float32, size=size) / 1e9:.0f} |")
    usual, batches.CPU = batches.CPU, batches.Schedule(batches.CPU.batch_seconds, 1, running=1)
    print_profile(tokenizer, functools.partial(tokenizer.encode, paths))
    batches.CPU = usual


def print_parts(tokenizer: Tokenizer, paths: Sequence[Path], loop: float) -> None:
    """What the loop spends its time on, each part alone and one clip after another."""
    some = paths[:: max(1, len(paths) // 100)]
    waveforms = [load_audio(path) for path in some]
    shortest = min(waveforms, key=len)
    parts = {
        "reading headers": lambda: [read_header(path, str(path)) for path in some],
        "decoding audio": lambda: [load_audio(path) for path in some],
        "encoder and quantizers": lambda: [tokenizer.encode(waveform) for waveform in waveforms],
        f"as many clips of {len(shortest) / SAMPLE_RATE:.2f} s": lambda: [tokenizer.encode(shortest) for _ in some],
    }
    print("\n| part, one by one | s | share of the loop |\n|---|---:|---:|")
    for name, value in median_seconds(parts, 3, warm=True).items():
        whole = value * len(paths) / len(some)
        print(f"| {name} | {whole:.2f} | {100 * whole / loop:.0f} % |")


def compare(tokenizer: Tokenizer, paths: Sequence[Path], alone: list[Tokens], together: list[Tokens]) -> str:
    """How many tokens differ, and how many of those are no ties."""
    total = different = decided = 0
    for path, one, other in zip(paths, alone, together, strict=True):
        differ = one.codes[0] != other.codes[0]
        total += differ.numel()
        if differ.any():
            different += int(differ.sum())
            features = tokenizer.features(path)[0]
            margins = tokenizer.margins(features[None])[0]
            for rows in tokenizer.codebooks.rows.values():
                # A flip in one stage leaves something else for the stages after it.
                first = differ[rows] & (differ[rows].cumsum(0) == 1)
                decided += int((first & (margins[rows] >= TIE)).sum())
    return f"{different} of {total} tokens differ, {decided} of them without a tie (two centroids within rounding)."


def make_clips(options: argparse.Namespace, folder: Path) -> list[Path]:
    """FLAC files of lengths drawn evenly, cut at random from the recordings of a folder one after another."""
    paths = [clip.path for clip in Speech([options.audio]).clips]
    speech = torch.cat([load_audio(path, sample_rate=SAMPLE_RATE) for path in paths])
    longest = round(options.longest * SAMPLE_RATE)
    speech = speech.repeat(-(-2 * longest // len(speech)))
    generator = np.random.default_rng(0)
    paths = []
    for number in range(options.clips):
        samples = round(generator.uniform(SHORTEST, options.longest) * SAMPLE_RATE)
        start = int(generator.integers(len(speech) - samples))
        paths.append(folder / f"{number:05}.flac")
        save_audio(paths[-1], speech[start : start + samples], sample_rate=SAMPLE_RATE)
    return paths


def load_tokenizer(options: argparse.Namespace) -> Tokenizer:
    """`tiny`, or random weights in the shape of the first three layers of microsoft/wavlm-base."""
    if options.encoder == "tiny" and not options.quick:
        return Tokenizer.from_pretrained("tiny")
    from transformers import WavLMConfig, WavLMModel

    config = WavLMConfig(num_hidden_layers=3)
    if options.quick:
        config.update({"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "conv_dim": [16] * 7})
    torch.manual_seed(0)
    centroids = {layer: torch.randn(1000, config.hidden_size) for layer in (1, 3)}
    return Tokenizer.from_centroids(WavLMModel(config), centroids, normalize=True)


def load_peers(options: argparse.Namespace, folder: Path) -> tuple[Tokenizer, Callable[[Path], Tensor]]:
    """semtok and SpeechBrain with the same random weights of WavLM-large's shape, and codebooks on six layers."""
    # before anything of transformers' models: see there what it does about torchaudio
    from speechbrain_peer import PUBLISHED, TINY, load_speechbrain, write_case  # isort: skip
    from parity_speechbrain import load_semtok

    speech = torch.randn(3, SAMPLE_RATE * 8)
    write_case(folder / "case", "wavlm", TINY if options.quick else PUBLISHED, 1000, list(speech))
    theirs = load_speechbrain(folder / "case", "new", "wavlm", 1000)

    def encode(path: Path) -> Tensor:
        found: Tensor = theirs.encode(load_audio(path)[None])[0]
        return found

    return load_semtok(folder / "case", "new")[0], torch.inference_mode()(encode)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "examples" / "data"
    parser.add_argument("--audio", type=Path, default=default, help="folder of recordings to cut the clips from")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds of the longest clip")
    parser.add_argument("--encoder", choices=["tiny", "wavlm-base"], default="tiny", help="wavlm-base: random weights")
    parser.add_argument("--batch-seconds", type=float, nargs="+", default=[batches.CPU.batch_seconds])
    parser.add_argument("--workers", type=int, nargs="+", default=[batches.CPU.workers])
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, of which the median counts")
    parser.add_argument("--speechbrain", action="store_true", help="WavLM-large of random weights, and SpeechBrain")
    parser.add_argument("--profile", action="store_true", help="also what the last `encode(list)` spends its time on")
    parser.add_argument("--quick", action="store_true", help="six clips, one run, a small network: tries the script")
    options = parser.parse_args()
    if options.quick:
        options.clips, options.longest, options.repeats = 6, 2.0, 1
    return options


if __name__ == "__main__":
    main()
