"""Long recordings in windows: how their tokens agree with other ways to make them, and what they cost.

python benchmarks/long_audio.py agreement --speech FOLDER ... [--seconds 600] [--plot FILE.png]
python benchmarks/long_audio.py cost --speech FOLDER ... [--minutes 1 10 60 180]

Agreement: windows of many chunk and context lengths against one pass over the whole recording, and against each of the
sentences it is joined from, encoded by itself; all normalised by the statistics of the whole. Cost: time and peak
memory of a process that encodes a file of so many minutes.
"""

from __future__ import annotations

import argparse
import datetime
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import torch
from joined import (
    add_speech_option,
    gather_sentences,
    print_rows,
    share_equal,
    shuffled_recordings,
    tokenizer_rows,
)
from long_decode import peak_memory
from report import print_versions
from torch import Tensor
from transformers_peer import of_transformers

from semtok import Tokenizer
from semtok.audio.lengths import CHUNK_SECONDS as CHUNK
from semtok.audio.lengths import CONTEXT_SECONDS as CONTEXT

CONTEXTS = (0, 0.5, 1, 2, 5, 10, 20)
CHUNKS = (5, 10, 20, 30, 60, 120, 300)
ATTENTION_SECONDS = 120
REACHES = (1, 2, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["agreement", "cost"])
    add_speech_option(parser)
    parser.add_argument("--seconds", type=float, default=600, help="of the recording whose agreement is measured")
    parser.add_argument("--plot", type=Path, help="where to draw the agreement")
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[1, 10, 60, 180], help="of the files that are timed"
    )
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file is not None:
        encode_file(options.file)
        return
    if options.quick:
        options.seconds, options.minutes = 10, [0.1]
    print_versions(torch.get_num_threads())
    if options.part == "agreement":
        measure_agreement(options)
    else:
        measure_cost(options)


def measure_agreement(options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.from_pretrained("tiny")
    sentences = gather_sentences(options.speech, options.seconds, tokenizer)
    speech = torch.cat(sentences)
    seconds = len(speech) / tokenizer.sample_rate
    print(f"{datetime.datetime.now():%Y-%m-%d}; tiny on {len(sentences)} recordings joined to {seconds:.0f} s.")
    print_reach(tokenizer, speech[: ATTENTION_SECONDS * tokenizer.sample_rate])
    whole = tokenizer.encode(speech, chunk_seconds=math.inf).codes[0]
    alone, counted = encode_sentences(tokenizer, sentences)
    shares = {"whole pass, sentences": share_equal(whole, alone, counted)}
    print_rows("agreement in %", tokenizer_rows(tokenizer), shares)

    settings = sorted({*((CHUNK, context) for context in CONTEXTS), *((chunk, CONTEXT) for chunk in CHUNKS)})
    if options.quick:
        settings = [(2, 0.5), (2, 1)]
    with_whole: dict[tuple[float, float], list[float]] = {}
    with_alone: dict[tuple[float, float], list[float]] = {}
    for chunk, context in settings:
        if chunk + 2 * context < seconds:
            found = tokenizer.encode(speech, chunk_seconds=chunk, context_seconds=context).codes[0]
            with_whole[chunk, context] = share_equal(found, whole)
            with_alone[chunk, context] = share_equal(found, alone, counted)
    for what, rows in (("one pass over the whole", with_whole), ("the sentences by themselves", with_alone)):
        named = {f"{chunk:g} s, {context:g} s": values for (chunk, context), values in rows.items()}
        print_rows(f"chunk, context: agreement with {what}, %", tokenizer_rows(tokenizer), named)
    if options.plot is not None and not options.quick:
        draw(options.plot, tokenizer_rows(tokenizer), with_whole, with_alone, share_equal(whole, alone, counted))


@torch.inference_mode()
def print_reach(tokenizer: Tokenizer, speech: Tensor) -> None:
    """How much of the attention of each layer goes to frames farther than some seconds."""
    speech = (speech - speech.mean()) / speech.std()
    attentions = of_transformers(tokenizer.encoder.model)(speech[None], output_attentions=True).attentions
    frames = torch.arange(attentions[0].shape[2])
    distances = (frames[:, None] - frames).abs()
    rows = {}
    for seconds in REACHES:
        far = distances > seconds * tokenizer.frame_rate
        shares = [100 * float((weights[0].mean(0) * far).sum(1).mean()) for weights in attentions]
        rows[f"{seconds:g} s; {100 * float(far.double().mean()):.1f} if it were uniform"] = shares
    what = f"attention to frames farther than, in one pass over {len(speech) / tokenizer.sample_rate:.0f} s, %"
    print_rows(what, [f"layer {number}" for number in range(1, len(attentions) + 1)], rows)


def encode_sentences(tokenizer: Tokenizer, sentences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Codes [rows, frames] of the joined recording, each sentence by itself; and which frames lie within one."""
    statistics = tokenizer.encoder.statistics(sentences)
    frames = tokenizer.encoder.frame_count(sum(map(len, sentences)))
    codes = torch.full((len(tokenizer.codebook_sizes), frames), -1)
    start = 0
    for sentence in sentences:
        with tokenizer.stream(block_seconds=len(sentence), statistics=statistics) as stream:
            stream.push(sentence)
            found = stream.flush().codes[0]
        first = start // tokenizer.hop_length
        codes[:, first : first + found.shape[1]] = found
        start += len(sentence)
    return codes, codes[0] >= 0


def draw(
    path: Path,
    rows: Sequence[str],
    with_whole: dict[tuple[float, float], list[float]],
    with_alone: dict[tuple[float, float], list[float]],
    whole_with_alone: Sequence[float],
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    contexts = [key for key in with_whole if key[0] == CHUNK]
    chunks = [key for key in with_whole if key[1] == CONTEXT]
    for number, row in enumerate(rows):
        style = {"marker": "o", "markersize": 3, "color": f"C{number}", "label": row}
        axes[0].plot([context for _, context in contexts], [with_whole[key][number] for key in contexts], **style)
        axes[1].plot([chunk for chunk, _ in chunks], [with_whole[key][number] for key in chunks], **style)
        axes[2].plot([chunk for chunk, _ in chunks], [with_alone[key][number] for key in chunks], **style)
        axes[2].axhline(whole_with_alone[number], color=f"C{number}", linestyle=":", linewidth=1)
    axes[0].set(title="with one pass over the whole", xlabel=f"context [s], chunks of {CHUNK:g} s")
    axes[1].set(title="with one pass over the whole", xlabel=f"chunk [s], context of {CONTEXT:g} s", xscale="log")
    axes[2].set(title="with the sentences by themselves", xlabel=f"chunk [s], context of {CONTEXT:g} s", xscale="log")
    axes[2].plot([], [], color="grey", linestyle=":", label="the whole pass")
    axes[0].set_ylabel("frames with the same token [%]")
    handles, labels = axes[2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small")
    for axis in axes:
        axis.grid(alpha=0.3)
    for axis in axes[1:]:
        axis.set_xticks([chunk for chunk, _ in chunks], [f"{chunk:g}" for chunk, _ in chunks])
        axis.minorticks_off()
    figure.savefig(path, dpi=150)


def measure_cost(options: argparse.Namespace) -> None:
    print(f"{datetime.datetime.now():%Y-%m-%d}; tiny, chunks of {CHUNK:g} s, context of {CONTEXT:g} s; a process each.")
    print("\n| minutes | seconds | x real time | peak memory, MiB |\n|---:|---:|---:|---:|")
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.flac"
            write_speech(path, options.speech, minutes * 60)
            child = [sys.executable, __file__, "cost", "--file", str(path)]
            seconds, memory = map(
                float, subprocess.run(child, check=True, capture_output=True, text=True).stdout.split()
            )
        print(f"| {minutes:g} | {seconds:.3g} | {60 * minutes / seconds:.1f} | {memory:.0f} |", flush=True)


def write_speech(path: Path, folders: Sequence[Path], seconds: float) -> None:
    """A file of so many seconds, over and over the same recordings."""
    import soundfile

    left = round(seconds * 16000)
    sentences = cycle(islice(shuffled_recordings(folders), 100))
    with soundfile.SoundFile(path, "w", 16000, channels=1) as file:
        while left > 0:
            sentence = next(sentences)[:left]
            file.write(sentence.numpy())
            left -= len(sentence)


def encode_file(path: Path) -> None:
    """Prints seconds and peak memory in MiB, in a process of its own."""
    tokenizer = Tokenizer.from_pretrained("tiny")
    start = time.perf_counter()
    tokenizer.encode(path)
    seconds = time.perf_counter() - start
    print(seconds, peak_memory())


if __name__ == "__main__":
    main()
