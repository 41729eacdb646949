"""Time and peak memory of decoding tokens of any length; called by decode.py --long."""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from semtok import Tokens, Vocoder
from semtok.cli import main as run_command

MINUTES = (1, 10, 60, 180)


def print_long(vocoders: dict[str, Vocoder], most_minutes: dict[str, float], options: argparse.Namespace) -> None:
    """For each vocoder, a process for each length, so that peaks are its own."""
    print("\n| vocoder | minutes | | seconds | x real time | peak memory, MiB |\n|---|---:|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        for number, (vocoder_name, vocoder) in enumerate(vocoders.items()):
            folder = Path(name) / str(number)
            vocoder.save_pretrained(folder)
            for minutes in (0.05, 0.1) if options.quick else MINUTES:
                if minutes > most_minutes.get(vocoder_name, minutes):
                    continue
                for way in ("into memory", "into a file"):
                    context = multiprocessing.get_context("spawn")
                    with ProcessPoolExecutor(1, mp_context=context) as process:
                        measured = process.submit(measure, folder, minutes, way, options.threads).result()
                    row = f"| {vocoder_name} | {minutes:g} | {way} | {measured[0]:.1f} "
                    print(row + f"| {60 * minutes / measured[0]:.1f} | {measured[1]:.0f} |", flush=True)


def measure(folder: Path, minutes: float, way: str, threads: int) -> tuple[float, float]:
    """Seconds of `Vocoder.decode` or of the command `semtok decode`, and the peak memory of this process in MiB."""
    torch.set_num_threads(threads)
    vocoder = Vocoder.from_pretrained(folder)
    frames = round(60 * minutes * vocoder.frame_rate)
    codebooks = vocoder.codebooks
    codes = torch.stack([torch.randint(size, (frames,)) for size in codebooks.sizes])
    tokens = Tokens.of([codes], codebooks, vocoder.frame_rate, vocoder.fingerprint)
    start = time.perf_counter()
    if way == "into memory":
        vocoder.decode(tokens)
    else:
        tokens.save(folder / "tokens.safetensors")
        arguments = ["decode", folder / "tokens.safetensors", "-o", folder / "speech.wav", "-c", folder]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            run_command(list(map(str, arguments)))
        if not (folder / "speech.wav").exists():
            raise RuntimeError("semtok decode failed")
        (folder / "speech.wav").unlink()
    return time.perf_counter() - start, peak_memory()


def peak_memory() -> float:
    """Of this process in MiB. Not from getrusage, which begins with what the process had that started this one."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
