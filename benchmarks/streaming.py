"""Streams: how their tokens agree with `encode` of the whole, and what a block costs.

python benchmarks/streaming.py --speech FOLDER ... [--seconds 180]

Each recording is streamed by itself and compared with its tokens in one piece: with running statistics, in all frames
and in those after the first 3 s; and with statistics known beforehand, those of the whole recording. Then the vocoder:
what a shorter look-ahead costs, as the error of the waveform and the steps where two pushes meet.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import time
from collections.abc import Sequence

import torch
from joined import add_speech_option, gather_sentences, print_rows, share_equal, tokenizer_rows
from report import print_versions
from torch import Tensor

from semtok import Tokenizer, Tokens, Vocoder
from semtok.encoder.statistics import Statistics
from semtok.streaming import join_tokens

LOOK_AHEADS = (0.08, 0.16, 0.32, 0.64, 1.28)
CONTEXTS = (1, 2, 4, 8)
VOCODER_LOOK_AHEADS = (0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28)
PUSHED_FRAMES = 8
LOOK_AHEAD, BLOCK, CONTEXT = 0.32, 0.32, 4
SETTLED_SECONDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_speech_option(parser)
    parser.add_argument("--seconds", type=float, default=180, help="of the recordings together")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_pretrained("tiny")
    recordings = gather_sentences(options.speech, 3 if options.quick else options.seconds, tokenizer)
    print_versions(torch.get_num_threads())
    seconds = sum(map(len, recordings)) / tokenizer.sample_rate
    print(f"{datetime.datetime.now():%Y-%m-%d}; tiny on {len(recordings)} recordings, {seconds:.0f} s together;")
    print(f"blocks of {BLOCK} s, {CONTEXT} s of context, {LOOK_AHEAD} s of look-ahead unless a row says otherwise.")
    look_aheads = LOOK_AHEADS[:1] if options.quick else LOOK_AHEADS
    contexts = CONTEXTS[:1] if options.quick else CONTEXTS
    print_agreement(tokenizer, recordings, look_aheads, contexts)
    print_times(tokenizer, torch.cat(recordings), contexts)
    print_vocoder(Vocoder.from_pretrained("tiny"), [tokenizer.encode(recording) for recording in recordings])


def print_vocoder(vocoder: Vocoder, recordings: Sequence[Tokens]) -> None:
    """Steps at joints: what a joint adds to the step between two samples, relative to the mean step of the whole."""
    print(f"\n| vocoder, {PUSHED_FRAMES} frames a push: look-ahead | error below the speech, dB | steps at joints |")
    print("|---|---:|---:|")
    for seconds in VOCODER_LOOK_AHEADS:
        decibels, steps = [], []
        for tokens in recordings:
            whole = vocoder.decode(tokens)[0]
            error = stream_waveform(vocoder, tokens, seconds) - whole
            decibels.append(float(10 * torch.log10(whole.square().sum() / error.square().sum())))
            ahead = round(seconds * vocoder.frame_rate)
            joints = torch.arange(PUSHED_FRAMES - ahead % PUSHED_FRAMES, int(tokens.lengths) - ahead, PUSHED_FRAMES)
            steps.append(float(error.diff()[joints * vocoder.hop_length - 1].abs().mean() / whole.diff().abs().mean()))
        print(f"| {seconds:g} s | {min(decibels):.0f} to {max(decibels):.0f} | {min(steps):.2g} to {max(steps):.2g} |")


def stream_waveform(vocoder: Vocoder, tokens: Tokens, look_ahead_seconds: float) -> Tensor:
    frames = int(tokens.lengths)
    with vocoder.stream(look_ahead_seconds=look_ahead_seconds) as stream:
        starts = range(0, frames, PUSHED_FRAMES)
        pushed = [stream.push(tokens.cut(start, min(start + PUSHED_FRAMES, frames))) for start in starts]
        return torch.cat([*pushed, stream.flush()])


def print_agreement(
    tokenizer: Tokenizer, recordings: Sequence[Tensor], look_aheads: Sequence[float], contexts: Sequence[float]
) -> None:
    wanted = [tokenizer.encode(recording).codes[0] for recording in recordings]
    known = [tokenizer.encoder.statistics([recording]) for recording in recordings]
    running: list[Statistics | None] = [None] * len(recordings)
    settled = torch.cat([torch.arange(codes.shape[1]) >= SETTLED_SECONDS * tokenizer.frame_rate for codes in wanted])

    def agreement(given: Sequence[Statistics | None], counted: Tensor | None = None, **times: float) -> list[float]:
        pairs = zip(recordings, given, strict=True)
        found = [stream_codes(tokenizer, recording, statistics, **times) for recording, statistics in pairs]
        return share_equal(torch.cat(found, dim=1), torch.cat(wanted, dim=1), counted)

    for what, given, counted in (
        ("running statistics", running, None),
        (f"running statistics, after {SETTLED_SECONDS} s", running, settled),
        ("statistics known", known, None),
    ):
        rows = {f"{value:g} s": agreement(given, counted, look_ahead_seconds=value) for value in look_aheads}
        print_rows(f"look-ahead: agreement with the whole in %, {what}", tokenizer_rows(tokenizer), rows)
    rows = {f"{value:g} s": agreement(known, None, context_seconds=value) for value in contexts}
    print_rows("context: agreement with the whole in %, statistics known", tokenizer_rows(tokenizer), rows)


def stream_codes(
    tokenizer: Tokenizer,
    recording: Tensor,
    known: Statistics | None,
    *,
    look_ahead_seconds: float = LOOK_AHEAD,
    context_seconds: float = CONTEXT,
) -> Tensor:
    with tokenizer.stream(
        block_seconds=BLOCK,
        look_ahead_seconds=look_ahead_seconds,
        context_seconds=context_seconds,
        statistics=known,
    ) as stream:
        return join_tokens([stream.push(recording), stream.flush()]).codes[0]


def print_times(tokenizer: Tokenizer, speech: Tensor, contexts: Sequence[float]) -> None:
    """Of the blocks of a stream, once its context is full: what they cost does not change any more."""
    print("\n| block, context | latency, s | a block: median, ms | slowest, ms | share of real time |")
    print("|---|---:|---:|---:|---:|")
    for block, context in [(BLOCK, context) for context in contexts] + [(0.16, CONTEXT), (0.64, CONTEXT)]:
        with tokenizer.stream(block_seconds=block, look_ahead_seconds=LOOK_AHEAD, context_seconds=context) as stream:
            times = []
            for samples in speech[: 60 * tokenizer.sample_rate].split(round(block * tokenizer.sample_rate)):
                start = time.perf_counter()
                stream.push(samples)
                times.append(time.perf_counter() - start)
            settled = times[round(context / block) + 4 :] or times
        median = statistics.median(settled)
        row = f"| {block:g} s, {context:g} s | {stream.latency_seconds:.3f} | {1000 * median:.1f} "
        print(row + f"| {1000 * max(settled):.1f} | {median / block:.2g} |", flush=True)


if __name__ == "__main__":
    main()
