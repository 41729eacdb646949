"""Exactness and speed on an accelerator, in 20 minutes at most; needs semtok, torch, transformers and numpy alone.

    python benchmarks/gpu.py                     10 s of noise with the shape of speech
    python benchmarks/gpu.py speech/*.npy        float arrays [samples] at 16 kHz, e.g. of load_audio(path).numpy()
    python benchmarks/gpu.py --quick             tiny sizes: tries the script

Prints Markdown: `tiny` against this machine's CPU; a push of eight frames to its vocoder, eager and by a CUDA graph;
the shape of WavLM-large by layers, dtype, lengths and batch, with the tokens that differ from float32; speeds of
`tiny`. Speeds are times faster than the audio lasts, from waveforms on the CPU to tokens on the device, and from those
to waveforms there. What the time does not suffice for says so. Without an accelerator it measures the CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import transformers
from gpu_table import RATE, make_clip, median_time, print_encoding, print_pushes
from torch import Tensor

import semtok
from semtok import Tokenizer, Tokens, Vocoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arrays", nargs="*", help=".npy files, float [samples] at 16 kHz in [-1, 1]")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clips that are timed")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--repeats", type=int, default=7, help="timed runs, of which the median counts")
    parser.add_argument("--no-compile", action="store_true", help="leave out what torch.compile makes")
    parser.add_argument("--minutes", type=float, default=20.0, help="after which no more is begun")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few runs, nothing compiled")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.batches, options.repeats, options.no_compile = 1.0, [1, 4], 1, True
    stop = time.monotonic() + 60 * options.minutes
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = accelerator or torch.device("cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    print(f"{name}; torch {torch.__version__}, transformers {transformers.__version__}, semtok {semtok.__version__};")
    print(f"{options.checkpoint}, clips of {options.seconds:g} s, median of {options.repeats}\n")

    clips = [torch.from_numpy(np.load(path)).float() for path in options.arrays] or [make_clip(options.seconds)]
    print_exactness(options.checkpoint, clips, device)
    clip = torch.cat(clips).repeat(1 + round(options.seconds * RATE) // sum(map(len, clips)))
    clip = clip[: round(options.seconds * RATE)]
    print_pushes(device, options.repeats)
    print_encoding(options, clip, device, stop)
    print_speeds(options, clip, device, stop)


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


def print_speeds(options: argparse.Namespace, clip: Tensor, device: torch.device, stop: float) -> None:
    print(f"\n| {options.checkpoint} | " + " | ".join(f"batch {batch}" for batch in options.batches) + " |")
    print("|---|" + "---:|" * len(options.batches))
    for kind in (Tokenizer, Vocoder):
        for dtype in ("float32", "bfloat16", "float16"):
            for compiled in (False,) if options.no_compile else (False, True):
                if time.monotonic() > stop:
                    print("\nNo time for more.")
                    return
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
    return f"{batch * len(clip) / RATE / median_time(run, model.device, repeats):.0f}"


if __name__ == "__main__":
    main()
