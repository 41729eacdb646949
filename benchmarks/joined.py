"""Real recordings, joined into one long one, for the benchmarks of long audio and streams."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from semtok import Tokenizer, load_audio

SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")
TEST_CLIPS = Path(__file__).parent.parent / "tests" / "data"


def add_speech_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--speech", type=Path, nargs="+", default=[TEST_CLIPS], help="folders of recordings")
    parser.add_argument("--quick", action="store_true", help="a few seconds: tries the script")


def shuffled_recordings(folders: Sequence[Path]) -> Iterator[Tensor]:
    """Those of each folder in a random order that is always the same, one folder after the other."""
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        random.Random(0).shuffle(paths)
        yield from map(load_audio, paths)


def gather_sentences(folders: Sequence[Path], seconds: float, tokenizer: Tokenizer) -> list[Tensor]:
    """Recordings of so many seconds together, each cut to whole hops, so that joined they keep their frames."""
    sentences: list[Tensor] = []
    left = round(seconds * tokenizer.sample_rate)
    for recording in shuffled_recordings(folders):
        if left <= 0:
            break
        whole = len(recording) // tokenizer.hop_length * tokenizer.hop_length
        sentences.append(recording[:whole])
        left -= whole
    return sentences


def share_equal(found: Tensor, wanted: Tensor, counted: Tensor | None = None) -> list[float]:
    """Percent of frames, of those counted (bool [frames]), whose codes [rows, frames] are equal: one a row."""
    equal = (found == wanted).double()
    share: list[float] = (100 * (equal if counted is None else equal[:, counted]).mean(dim=1)).tolist()
    return share


def tokenizer_rows(tokenizer: Tokenizer) -> tuple[str, ...]:
    """What the rows of its codes are called: by layer, and by residual stage where a layer has several."""
    return tokenizer.codebooks.names


def print_rows(first: str, columns: Sequence[str], rows: dict[str, Sequence[float]]) -> None:
    """A Markdown table of percents, a row each and a column a row of codes."""
    print(f"\n| {first} | " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |", flush=True)
