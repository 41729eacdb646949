"""Encodes a corpus while its workers are killed at random moments: in the end every clip must be there, once and right.

    python killed_corpus.py CHECKPOINT AUDIO FOLDER TIMES [--kills 4]

Each of TIMES, two processes race on the same shards and are killed, again and again, until two are let finish. Prints
how often that happened.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas  # noqa: F401  # imported once for all, as the next three
import pyarrow.dataset  # noqa: F401
import soundfile  # noqa: F401
from transformers import HubertModel  # noqa: F401

from semtok import Tokenizer, corpus

SHARDS = 6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("times", type=int)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5, help="the longest that a worker encodes")
    options = parser.parse_args()
    random.seed(0)
    started, begin = os.pipe()
    killed, done = 0, []
    for number in range(options.times):
        folder = options.folder / str(number)
        # This process computes nothing, as torch and pyarrow hang in children of one that has.
        for _ in range(options.kills // 2):
            racers = [start(encode, options, folder, begin) for _ in range(2)]
            for _ in racers:
                os.read(started, 1)
            for racer in racers:
                time.sleep(random.random() * options.seconds)
                os.kill(racer, signal.SIGKILL)
            killed += sum(os.WIFSIGNALED(os.waitpid(racer, 0)[1]) for racer in racers)
            done.append(len(list(folder.glob("data/part-*"))))
        racers = [start(encode, options, folder, begin) for _ in range(2)]
        assert [os.waitpid(racer, 0)[1] for racer in racers] == [0, 0], "a worker failed"
        os.read(started, 2)
        assert os.waitpid(start(check, options, folder), 0)[1] == 0, f"{folder} is wrong"
    between = sum(0 < shards < SHARDS for shards in done)
    print(f"{options.times} corpora, {killed} workers killed, {between} times between two shards")  # noqa: T201


def encode(options: argparse.Namespace, folder: Path, begin: int) -> None:
    tokenizer = Tokenizer.from_pretrained(options.checkpoint)
    os.write(begin, b"!")
    corpus.encode_corpus(tokenizer, options.audio, folder, num_shards=SHARDS)


def check(options: argparse.Namespace, folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(options.checkpoint)
    paths = sorted(options.audio.glob("*.wav"))
    clips = list(corpus.read(folder))
    assert [clip.id for clip in clips] == [path.name for path in paths]
    for path, clip in zip(paths, clips, strict=True):
        assert clip.tokens.codes.equal(tokenizer.encode(path).codes), path


def start(work: Callable[..., None], *arguments: Any) -> int:
    """Does it in a process of its own."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            work(*arguments)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


if __name__ == "__main__":
    main()
