"""Flips single bits in the files of a corpus: a reader must notice each, and say which file is damaged.

    python bit_flips.py CORPUS TIMES

Prints how many flips `corpus.read`, and how many `corpus.verify_bytes`, refused.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtok import corpus
from semtok.errors import CorpusError


@dataclass
class Flips:
    """How many flips were noticed by a reader of all clips, and by one of all bytes."""

    refused_by_read: int = 0
    refused_by_verify: int = 0


def flip_bits(folder: Path, times: int, pattern: str = "data/*.parquet", seed: int = 0) -> Flips:
    """Flips `times` bits, one after the other, in files of the corpus `folder`, which is not changed.

    Raises:
        AssertionError: a reader gave other clips without an error, or an error that does not name the file.
    """
    choice, flips, before = random.Random(seed), Flips(), contents(folder)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "corpus"
        shutil.copytree(folder, copy)
        paths = sorted(copy.glob(pattern))
        sizes = [path.stat().st_size for path in paths]
        for _ in range(times):
            (path,) = choice.choices(paths, sizes)
            content = path.read_bytes()
            bit = choice.randrange(8 * len(content))
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            refused = [_refuses(use, copy, path.name) for use in (contents, corpus.verify_bytes, corpus.status)]
            if not refused[0]:
                assert contents(copy) == before, f"bit {bit} of {path.name}: other clips, and no error"
            flips.refused_by_read += refused[0]
            flips.refused_by_verify += refused[1]
            path.write_bytes(content)
    return flips


def _refuses(use: Callable[[Path], Any], folder: Path, name: str) -> bool:
    """Whether a use of a corpus ends in an error that tells of this file."""
    try:
        use(folder)
    except CorpusError as error:
        if name in str(error) or "shards of" in str(error):
            return True
        raise
    return False


def contents(folder: Path) -> list[Any]:
    """All that a reader of a corpus learns of each clip."""
    clips = []
    for clip in corpus.read(folder):
        tokens = clip.tokens
        facts = clip.id, clip.path, clip.start, clip.duration, clip.num_samples, clip.columns
        clips.append([*facts, tokens.codes.tolist(), tokens.codebooks, tokens.frame_rate, tokens.fingerprint])
    return clips


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("times", type=int)
    options = parser.parse_args()
    print(flip_bits(options.corpus, options.times))  # noqa: T201
