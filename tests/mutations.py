"""Damages files at random and opens them: each must load as if nothing were wrong, or be refused by a `SemtokError`.

    python tests/mutations.py [KIND ...] --count 2000 [--seed 0]

Prints for each kind how many mutations were loaded, refused, and neither (with their numbers, by which `mutate` makes
them again). Neither is: another exception, more than 5 s of the processor's time, more than 1 GB of memory.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import resource
import shutil
import signal
import struct
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from checkpoints import make_tokenizer, save_checkpoint
from encoders import ENCODERS, tiny_model
from helpers import CLIPS, copy_clips
from task_models import HEADS, make_model

from semtok import Tokenizer, Tokens, Vocoder, corpus
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import resolve
from semtok.downstream import DownstreamModel
from semtok.errors import SemtokError
from semtok.language.vocabulary import UnitVocabulary
from semtok.speech.sources import open_source

SECONDS, BYTES = 5.0, 1 << 30
RAW = "@raw@"
VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 7, 1 << 20, 10**9, (1 << 63) - 1, 1 << 63, -(1 << 63) - 1, 0.5, -1.5, 1e308),
    *("", "x", "1", "a" * 10_000, "../../etc/passwd", "/dev/zero", [], {}, [1], [None], {"a": 1}, [[[]]], [0] * 10_000),
]
RAW_VALUES = [
    *("NaN", "-Infinity", "1e999", r'"\ud800"', "9" * 5000, "[" * 100_000, "[" * 900 + "]" * 900, '{"a":' * 100_000),
    *('{"a": 1, "a": 2}', "\ufeff", "", "\x00", "'x'"),
]
KEYS = [
    "transformers_weights",
    "auto_map",
    "quantization_config",
    "torch_dtype",
    "model_type",
    "format_version",
    "\ud83d",
]


@dataclass
class Kind:
    """Files of which one at a time is damaged, and what opens such a file with those that belong to it."""

    files: list[Path]
    open: Callable[[Path], object]


@dataclass
class Counts:
    """What came of the mutations of a kind."""

    loaded: int = 0
    refused: int = 0
    wrong: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    most_bytes: int = 0


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list or object inside a value, with each of its indices or keys."""
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ():
        yield value, key
        yield from places(value[key])


def mutate_json(text: str, draw: random.Random) -> str:
    """JSON with up to three of its values replaced, left out or added, or its text damaged."""
    if draw.random() < 0.15:
        return mutate_bytes(text.encode(), draw).decode("utf-8", "surrogateescape")
    value, raw = copy.deepcopy(json.loads(text)), ""
    for _ in range(draw.randint(1, 3)):
        inside = list(places(value))
        if not inside:
            return str(draw.choice(RAW_VALUES))
        parent, key = draw.choice(inside)
        how = draw.random()
        if how < 0.15:
            del parent[key]
        elif how < 0.25 and isinstance(parent, dict):
            parent[draw.choice(KEYS)] = copy.deepcopy(draw.choice(VALUES))
        elif how < 0.5 and type(parent[key]) in (int, float):
            parent[key] = type(parent[key])(parent[key] * draw.choice([-1, 0, 0.5, 2, 3, 1000, 1e6, 1e12]))
        elif how < 0.65:
            parent[key], raw = RAW, draw.choice(RAW_VALUES)
        else:
            parent[key] = copy.deepcopy(draw.choice(VALUES))
    return json.dumps(value).replace(f'"{RAW}"', raw)


def mutate_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bits turned, bytes left out, written over or put in, or the end cut off."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 4, 64])):
        place, how = draw.randrange(len(changed) + 1), draw.random()
        if how < 0.4 and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif how < 0.55:
            del changed[place : place + draw.choice([1, 4, 100])]
        elif how < 0.7:
            changed[place:place] = draw.randbytes(draw.choice([1, 4, 100]))
        elif how < 0.85:
            changed[place : place + 8] = draw.choice([b"\0" * 8, b"\xff" * 8, struct.pack("<q", 1 << 40)])
        else:
            del changed[place:]
    return bytes(changed)


def mutate_safetensors(content: bytes, draw: random.Random) -> bytes:
    """The header changed as JSON, the numbers, or any of the bytes."""
    size = int.from_bytes(content[:8], "little")
    header, numbers = content[8 : 8 + size], content[8 + size :]
    if draw.random() < 0.5:
        return mutate_bytes(content, draw)
    if draw.random() < 0.3:
        place = draw.randrange(max(1, len(numbers) - 4))
        return content[: 8 + size] + numbers[:place] + struct.pack("<f", float("nan")) + numbers[place + 4 :]
    changed = mutate_json(header.decode(), draw).encode("utf-8", "surrogatepass")
    return len(changed).to_bytes(8, "little") + changed + numbers


def mutate(path: Path, draw: random.Random) -> bytes:
    """The content of a file, damaged in a way that fits what it is."""
    content = path.read_bytes()
    if path.suffix == ".json":
        return mutate_json(content.decode(), draw).encode("utf-8", "surrogateescape")
    if path.suffix == ".jsonl":
        lines = content.decode().splitlines()
        number = draw.randrange(len(lines))
        lines[number] = draw.choice([mutate_json(lines[number], draw), "null", "[]"])
        return "\n".join(lines).encode("utf-8", "surrogateescape")
    return mutate_safetensors(content, draw) if path.suffix == ".safetensors" else mutate_bytes(content, draw)


class TooSlow(BaseException):
    """Raised in the middle of whatever takes longer than `SECONDS`; no `except Exception` catches it."""


@contextmanager
def time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def peak_bytes() -> int:
    """The most memory that this process had at any time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(kind: Kind, count: int, seed: int = 0) -> Counts:
    """Opens `count` mutations of a kind."""
    for path in kind.files:
        kind.open(path)  # what is not damaged, which also imports all that is needed
    counts, start = Counts(), peak_bytes()
    # So that a mutation that asks for all memory ends with an error here and does not end the machine.
    limit = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 6 * BYTES, limit[1]))
    try:
        for number in range(count):
            draw = random.Random(f"{seed} {number}")
            path = draw.choice(kind.files)
            sound = path.read_bytes()
            path.write_bytes(mutate(path, draw))
            began = time.process_time()
            try:
                with time_limit():
                    kind.open(path)
                counts.loaded += 1
            except SemtokError as error:
                counts.refused += 1
                if not any(str(folder) in str(error) for folder in path.parents[:2]):
                    counts.wrong[number] = (
                        f"{path.name}: no name of a file in {type(error).__name__}: {str(error)[:200]}"
                    )
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                where = traceback.extract_tb(error.__traceback__)
                own = [f"{Path(step.filename).name}:{step.lineno}" for step in where if "semtok" in step.filename]
                counts.wrong[number] = f"{path.name}: {type(error).__name__}: {str(error)[:200]} at {own[-3:]}"
            finally:
                path.write_bytes(sound)
            counts.slowest = max(counts.slowest, time.process_time() - began)
            if (peak := peak_bytes() - start) > counts.most_bytes:
                counts.most_bytes = peak
                if peak > BYTES:
                    counts.wrong[number] = f"{path.name}: {peak / 1e9:.2f} GB"
                    start += peak
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    return counts


def checkpoint(folder: Path) -> Kind:
    for generator in ("istft", "hifigan"):
        save_checkpoint(folder / generator, generator)

    def load(path: Path) -> None:
        Tokenizer.from_pretrained(path.parent)
        Vocoder.from_pretrained(path.parent)

    return Kind(sorted(path for path in folder.glob("*/*") if path.is_file()), load)


def encoder(folder: Path) -> Kind:
    for name in ENCODERS:
        tiny_model(name).save_pretrained(folder / name)
    # Configs more often than weights, of which most mutations are the same to a reader.
    files = [*sorted(folder.glob("*/config.json")) * 3, *sorted(folder.glob("*/model.safetensors"))]
    return Kind(files, lambda path: read_encoder(resolve(path.parent), 3))


def task(folder: Path) -> Kind:
    tokenizer = make_tokenizer()
    for name in HEADS:
        make_model(name, tokenizer).save_pretrained(folder / name)
    configs, weights = sorted(folder.glob("*/config.json")), sorted(folder.glob("*/model.safetensors"))
    return Kind([*configs * 3, *weights], lambda path: DownstreamModel.from_pretrained(path.parent))


def tokens(folder: Path) -> Kind:
    folder.mkdir()
    make_tokenizer().encode(str(CLIPS[0])).save(folder / "x.safetensors")
    return Kind([folder / "x.safetensors"], Tokens.load)


def vocabulary(folder: Path) -> Kind:
    folder.mkdir()
    UnitVocabulary.of(make_tokenizer(), max_duration=20).save(folder / "vocabulary.json")
    return Kind([folder / "vocabulary.json"], UnitVocabulary.load)


def manifest(folder: Path) -> Kind:
    copy_clips(folder)
    names = [path.name for path in CLIPS]
    rows = [{"path": name, "start": 0.5, "duration": 1.0, "text": "a b", "speaker": 7} for name in names]
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "x.csv").write_text("path,start,duration,text\n" + "".join(f"{name},0.5,1.0,a b\n" for name in names))
    return Kind([folder / "x.jsonl", folder / "x.csv"], lambda path: list(open_source(path).rows()))


def _corpus(folder: Path) -> Path:
    copy_clips(folder / "audio")
    corpus.encode_corpus(make_tokenizer(), folder / "audio", folder / "tokens", num_shards=2)
    return folder / "tokens"


def _read_corpus(folder: Path) -> None:
    corpus.status(folder)
    for clip in corpus.read(folder):
        assert clip.tokens


def run_config(folder: Path) -> Kind:
    tokens_folder = _corpus(folder)
    return Kind([tokens_folder / "run.json"], lambda _: _read_corpus(tokens_folder))


def shard(folder: Path) -> Kind:
    tokens_folder = _corpus(folder)
    return Kind(sorted(tokens_folder.glob("data/*.parquet")), lambda _: _read_corpus(tokens_folder))


KINDS: dict[str, Callable[[Path], Kind]] = {
    "checkpoint": checkpoint,
    "encoder": encoder,
    "task": task,
    "run": run_config,
    "manifest": manifest,
    "tokens": tokens,
    "vocabulary": vocabulary,
    "shard": shard,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=f"of {', '.join(KINDS)}; all")
    parser.add_argument("--count", type=int, default=2000, help="mutations of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.kinds or KINDS:
        folder = Path(tempfile.mkdtemp())
        try:
            counts = run(KINDS[name](folder / name), options.count, options.seed)
        finally:
            shutil.rmtree(folder)
        print(  # noqa: T201
            f"{name}: {counts.loaded} loaded, {counts.refused} refused, {len(counts.wrong)} neither; "
            f"at most {counts.slowest:.1f} s and {counts.most_bytes / 1e6:.0f} MB",
            flush=True,
        )
        for number, what in list(counts.wrong.items())[:40]:
            print(f"  {number}: {what}", flush=True)  # noqa: T201
        if len(counts.wrong) > 40:
            print(f"  kinds: {Counter(what.split(': ')[1] for what in counts.wrong.values())}")  # noqa: T201


if __name__ == "__main__":
    main()
