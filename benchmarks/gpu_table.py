"""The table of `gpu.py`: WavLM-large's shape by layers, dtype, lengths and batch; a push of the vocoder.

Tokens changed are those that differ from float32, clip by clip, on the same device: of all rows, per cent. Weights are
random, and the centroids are features of noise, so that shares of changed tokens are of this order and no more.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from encode import SIX_LAYERS, THREE_LAYERS, copy_of, random_tokenizer, small_config, wavlm_large_config
from torch import Tensor

from semtok import Tokenizer, Vocoder
from semtok.networks.precision import exact_float32

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
PUSH_FRAMES = 8


RATE = 16000


def make_clip(seconds: float) -> Tensor:
    """Noise [samples] whose colour and loudness change as fast as syllables."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(round(seconds * RATE), generator=generator)
    smooth = torch.nn.functional.avg_pool1d(noise[None], 15, stride=1, padding=7)[0]
    wander = torch.sin(2 * torch.pi * 4 * torch.arange(len(noise)) / RATE)
    return 0.05 * (noise * (1 + wander) + 4 * smooth * (1 - wander))


def print_encoding(options: argparse.Namespace, clip: Tensor, device: torch.device, stop: float) -> None:
    """A row for each set of layers, dtype and kind of lengths, a column for each batch: speed, and tokens changed."""
    torch.manual_seed(0)
    exact = copy_of(random_tokenizer(small_config() if options.quick else wavlm_large_config()), torch.float32, device)
    exact = with_centroids_of(exact, clip)
    print(
        "\n| WavLM-large, layers | dtype | lengths | "
        + " | ".join(f"batch {batch}" for batch in options.batches)
        + " |"
    )
    print("|---|---|---|" + "---:|" * len(options.batches))
    for dtype in DTYPES:
        tokenizer = copy_of(exact, dtype, device)
        for layers in (THREE_LAYERS, SIX_LAYERS):
            for mixed in (False, True):
                cells = [cell(exact, tokenizer, layers, clip, batch, mixed, options, stop) for batch in options.batches]
                row = [", ".join(map(str, layers)), str(dtype).removeprefix("torch."), "mixed" if mixed else "equal"]
                print(f"| {' | '.join([*row, *cells])} |", flush=True)


def with_centroids_of(tokenizer: Tokenizer, clip: Tensor) -> Tokenizer:
    """The same with centroids that are frames of noise of many colours, spread as its features are."""
    clips = [clip.roll(1000 * number) * (1 + number % 3) for number in range(4)]
    features = torch.cat([tokenizer.features(one)[0].float() for one in clips], dim=1)
    chosen = torch.randperm(features.shape[1])[: max(2, min(1000, features.shape[1] // 2))]
    centroids = {layer: features[place, chosen].cpu() for place, layer in enumerate(tokenizer.layers)}
    return Tokenizer.from_centroids(tokenizer.encoder.model, centroids, normalize=True)


def cell(
    exact: Tokenizer,
    tokenizer: Tokenizer,
    layers: Sequence[int],
    clip: Tensor,
    batch: int,
    mixed: bool,
    options: argparse.Namespace,
    stop: float,
) -> str:
    """Speed, and the share of tokens that differ from float32 clip by clip."""
    if time.monotonic() > stop:
        return "no time"
    # lengths from a quarter to all of it, in an order that is none
    shares = [0.25 + 0.75 * (7 * number % batch + 1) / batch if mixed else 1.0 for number in range(batch)]
    clips = [clip.roll(997 * number)[: round(len(clip) * share)] for number, share in enumerate(shares)]
    try:
        seconds = median_time(lambda: tokenizer.encode(clips, layers=layers), tokenizer.device, options.repeats)
        tokens = tokenizer.encode(clips, layers=layers)
    except torch.OutOfMemoryError:
        return "no memory"
    checked = range(0, batch, max(1, batch // 8))
    changed = total = 0
    for number in checked:
        expected = exact.encode(clips[number], layers=layers).codes[0]
        changed += int((tokens.codes[number, :, : expected.shape[1]] != expected).sum())
        total += expected.numel()
    return f"{sum(map(len, clips)) / RATE / seconds:.0f} ({100 * changed / total:.2f} %)"


def print_pushes(device: torch.device, repeats: int) -> None:
    """A push of eight frames to a vocoder's network of `tiny`, with all frames its samples depend on."""
    vocoder = Vocoder.from_pretrained("tiny", device=device)
    network = vocoder.network
    frames = sum(network.generator.receptive_frames) + PUSH_FRAMES
    draws = [[torch.randint(size, (1, 1, frames)) for size in vocoder.codebooks.sizes] for _ in range(2)]
    first, second = (torch.cat(rows, dim=1).to(device) for rows in draws)
    positions = list(range(len(vocoder.layers)))

    def push(codes: Tensor) -> Tensor:
        with torch.inference_mode(), exact_float32(device):
            return network(codes, positions)

    print(f"| push of {PUSH_FRAMES} frames of `tiny`, {frames} decoded | ms |\n|---|---:|")
    print(f"| eager | {1000 * median_time(lambda: push(second), device, 4 * repeats):.2f} |", flush=True)
    if device.type != "cuda":
        print("| CUDA graph | no CUDA here |")
        return
    replay = capture(push, first)
    print(f"| CUDA graph | {1000 * median_time(lambda: replay(second), device, 4 * repeats):.2f} |")
    print(f"\nGraph and eager are {'' if replay(second).equal(push(second)) else 'not '}bit-equal.")


def capture(run: Callable[[Tensor], Tensor], example: Tensor) -> Callable[[Tensor], Tensor]:
    """The same function of tensors of one shape as a CUDA graph."""
    place = example.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run(place)  # what is chosen and allocated once must not be captured
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = run(place)

    def replay(codes: Tensor) -> Tensor:
        place.copy_(codes)
        graph.replay()
        return answer

    return replay


def median_time(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of a run, the median, after two that do not count."""
    times = []
    for repeat in range(-2, repeats):
        start = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        if repeat >= 0:
            times.append(time.perf_counter() - start)
    return statistics.median(times)
