"""Exactness and speed of `tiny` on an accelerator; needs semtok, torch, transformers and numpy alone.

    python benchmarks/gpu.py                     10 s of noise with the shape of speech
    python benchmarks/gpu.py speech/*.npy        float arrays [samples] at 16 kHz, e.g. of load_audio(path).numpy()

Prints Markdown. Exactness is that of float32 against this machine's CPU. Speeds are times faster than the audio lasts,
from waveforms on the CPU to tokens on the device, and from those to waveforms there. Without an accelerator it measures
the CPU, which tries the script.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import transformers
from torch import Tensor

import semtok
from semtok import Tokenizer, Tokens, Vocoder

RATE = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arrays", nargs="*", help=".npy files, float [samples] at 16 kHz in [-1, 1]")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clips that are timed")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--repeats", type=int, default=7, help="timed runs, of which the median counts")
    parser.add_argument("--no-compile", action="store_true", help="leave out what torch.compile makes")
    options = parser.parse_args()
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = accelerator or torch.device("cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    print(f"{name}; torch {torch.__version__}, transformers {transformers.__version__}, semtok {semtok.__version__};")
    print(f"{options.checkpoint}, clips of {options.seconds:g} s, median of {options.repeats}\n")

    clips = [torch.from_numpy(np.load(path)).float() for path in options.arrays] or [make_clip(options.seconds)]
    print_exactness(options.checkpoint, clips, device)
    clip = torch.cat(clips).repeat(1 + round(options.seconds * RATE) // sum(map(len, clips)))
    print_speeds(options, clip[: round(options.seconds * RATE)], device)


def make_clip(seconds: float) -> Tensor:
    """Noise [samples] whose colour and loudness change as fast as syllables."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(round(seconds * RATE), generator=generator)
    smooth = torch.nn.functional.avg_pool1d(noise[None], 15, stride=1, padding=7)[0]
    wander = torch.sin(2 * torch.pi * 4 * torch.arange(len(noise)) / RATE)
    return 0.05 * (noise * (1 + wander) + 4 * smooth * (1 - wander))


def print_exactness(checkpoint: str, clips: Sequence[Tensor], device: torch.device) -> None:
    """How many codes of each row differ from the CPU's, alone and in a batch; the largest difference of speech."""
    here, there = Tokenizer.from_pretrained(checkpoint), Tokenizer.from_pretrained(checkpoint, device=device)
    expected = here.encode(list(clips))
    alone = Tokens.cat([there.encode(clip) for clip in clips]).to("cpu")
    batched = there.encode([*clips, *(clip[: len(clip) // 2] for clip in clips)]).to("cpu")[: len(clips)]
    valid = expected.codes[:, 0] >= 0
    print("| row | tokens | differ alone | differ in a batch |\n|---|---:|---:|---:|")
    for row, name in enumerate(expected.names):
        differ = [int((found.codes[:, row] != expected.codes[:, row])[valid].sum()) for found in (alone, batched)]
        print(f"| {name} | {int(valid.sum())} | {differ[0]} | {differ[1]} |")
    vocoders = Vocoder.from_pretrained(checkpoint), Vocoder.from_pretrained(checkpoint, device=device)
    speech, found = (vocoder.decode(expected).cpu() for vocoder in vocoders)
    print(f"\nSpeech differs by {float((speech - found).abs().max()):.1e} at most.\n")


def print_speeds(options: argparse.Namespace, clip: Tensor, device: torch.device) -> None:
    print("| | " + " | ".join(f"batch {batch}" for batch in options.batches) + " |")
    print("|---|" + "---:|" * len(options.batches))
    for kind in (Tokenizer, Vocoder):
        for dtype in ("float32", "bfloat16", "float16"):
            for compiled in (False,) if options.no_compile else (False, True):
                try:
                    model = kind.from_pretrained(options.checkpoint, device=device, dtype=dtype, compile=compiled)
                    cells = [speed(model, clip, batch, options.repeats) for batch in options.batches]
                except (RuntimeError, ValueError) as error:
                    cells = [str(error).splitlines()[0][:60]]
                what = "encode" if kind is Tokenizer else "decode"
                row = f"| {what}, {dtype}{', compiled' if compiled else ''} | " + " | ".join(cells) + " |"
                print(row, flush=True)


def speed(model: Tokenizer | Vocoder, clip: Tensor, batch: int, repeats: int) -> str:
    if isinstance(model, Tokenizer):
        run: Callable[[], object] = lambda: model.encode([clip] * batch)  # noqa: E731
    else:
        frames = round(len(clip) / model.hop_length)
        codes = torch.stack([torch.randint(size, (batch, frames)) for size in model.codebooks.sizes], dim=1)
        tokens = Tokens.of(list(codes), model.codebooks, model.frame_rate, model.fingerprint)
        tokens = tokens.to(model.device)
        run = lambda: model.decode(tokens)  # noqa: E731
    times = []
    for repeat in range(-2, repeats):  # two before those that count
        start = time.perf_counter()
        run()
        if model.device.type != "cpu":
            torch.accelerator.synchronize()
        if repeat >= 0:
            times.append(time.perf_counter() - start)
    return f"{batch * len(clip) / RATE / statistics.median(times):.0f}"


if __name__ == "__main__":
    main()
