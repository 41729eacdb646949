"""The recordings behind the figures: says what a folder lacks of them, and makes it of the original corpora.

    python experiments/recordings.py data
    python experiments/recordings.py data --originals LibriSpeech speechocean762

Manifests and phone alignments come from `experiments/recordings`, which also has the SHA-256 of every clip. A clip that
is not there is made of the original of the same name: 16 kHz, mono, of as many seconds as listed, those with the most
energy, as most clips had their silence cut. Such clips are "made anew": nearly the same speech in other bytes, so that
figures come out near those in the docs, and not the same. Ends with 1 where clips are missing.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import lzma
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from semtok import load_audio, save_audio
from semtok.errors import AudioError, SemtokError
from semtok.support.atomic import atomic_write
from semtok.support.progress import track

LISTS = Path(__file__).with_suffix("")
SAME, OTHER, MISSING = "as listed", "made anew", "missing"

_RATE = 16000
_SUFFIXES = (".flac", ".wav", ".mp3", ".ogg", ".opus")


@dataclass(frozen=True)
class Listed:
    """A clip of the lists: its place in the folder, the SHA-256 of its file, its seconds, and where it came from."""

    path: Path
    sha256: str
    seconds: float
    origin: str


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder `data`; what it lacks of the lists is written into it")
    parser.add_argument("--originals", type=Path, nargs="+", default=[], help="folders with the original corpora")
    options = parser.parse_args(arguments)
    try:
        copy_lists(options.folder)
        states = bring_up_to_date(options.folder, list(listed_clips()), originals_in(options.originals))
    except SemtokError as error:
        parser.exit(1, f"error: {error}\n")
    print(table(states))
    return int(MISSING in states.values())


def listed_clips() -> Iterator[Listed]:
    """All clips of the manifests in `LISTS`."""
    lines = (LISTS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    for manifest in sorted(LISTS.rglob("manifest.csv")):
        folder = manifest.parent.relative_to(LISTS)
        with manifest.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                path = folder / row["path"]
                yield Listed(path, sums[path.as_posix()], float(row["duration_s"]), row["source_repo"])


def copy_lists(folder: Path) -> None:
    """Writes the manifests, the tables beside them and the phone alignments where `folder` has none.

    Raises:
        SemtokError: `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise SemtokError(f"{folder} is a file: name the folder that holds the recordings, or is to hold them")
    contents = {path.relative_to(LISTS): path.read_bytes() for path in LISTS.rglob("*.csv")}
    contents[Path("phones.jsonl")] = lzma.decompress((LISTS / "phones.jsonl.xz").read_bytes())
    for name, content in contents.items():
        target = folder / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as temporary:
                temporary.write_bytes(content)


def originals_in(folders: Sequence[Path]) -> dict[str, Path]:
    """Audio files below the folders by the names of clips: the stem, and what follows any underscore in it.

    Raises:
        SemtokError: one of them is no folder.
    """
    originals: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise SemtokError(f"there is no folder {folder}: --originals takes those that hold the original corpora")
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in _SUFFIXES:
                parts = path.stem.split("_")
                for first in range(len(parts)):
                    originals.setdefault("_".join(parts[first:]), path)
    return originals


def bring_up_to_date(folder: Path, clips: Sequence[Listed], originals: dict[str, Path]) -> dict[Listed, str]:
    """The state of each clip, after those that were missing were made of their originals where there are any."""
    states = {}
    for clip in track(clips, "recordings", len(clips)):
        target = folder / clip.path
        if not target.exists() and clip.path.stem in originals:
            try:
                make_clip(clip, originals[clip.path.stem], target)
            except AudioError as error:
                print(error, file=sys.stderr)
        states[clip] = state_of(clip, target)
    return states


def make_clip(clip: Listed, original: Path, target: Path) -> None:
    """Writes the part of an original that the clip is of, at 16 kHz.

    Raises:
        AudioError: the original cannot be read.
    """
    waveform = loudest(load_audio(original, sample_rate=_RATE), round(clip.seconds * _RATE))
    target.parent.mkdir(parents=True, exist_ok=True)
    save_audio(target, waveform, sample_rate=_RATE)


def loudest(waveform: Tensor, samples: int) -> Tensor:
    """The window of so many samples with the most energy, float [samples]; the whole waveform where it is shorter."""
    if len(waveform) <= samples:
        return waveform
    sums = waveform.double().square().cumsum(0)
    energy = sums[samples - 1 :].clone()
    energy[1:] -= sums[:-samples]
    start = int(energy.argmax())
    return waveform[start : start + samples]


def state_of(clip: Listed, path: Path) -> str:
    if not path.exists():
        return MISSING
    return SAME if hashlib.sha256(path.read_bytes()).hexdigest() == clip.sha256 else OTHER


def table(states: dict[Listed, str]) -> str:
    """How many clips of each origin are in which state, in Markdown."""
    places = [("/".join(clip.path.parts[:2]), clip.origin) for clip in states]
    counts = Counter(zip(places, states.values(), strict=True))
    lines = ["| folder | from | as listed | made anew | missing |", "|---|---|---:|---:|---:|"]
    for place in dict.fromkeys(places):
        numbers = (str(counts[place, state]) for state in (SAME, OTHER, MISSING))
        lines.append(f"| {' | '.join((*place, *numbers))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
