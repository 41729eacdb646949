"""Which files of a folder hold audio: all that are found in it, or those that manifests list."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from semtok.errors import AudioError

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3"),
    *(".oga", ".mp2", ".aif", ".aiff", ".aifc", ".au", ".snd", ".sph", ".w64", ".rf64", ".caf"),
)
"""What is taken for a recording where a folder is searched."""

WRITTEN_SUFFIXES = AUDIO_SUFFIXES[:5]
"""What `save_audio` writes."""

MANIFEST_SUFFIXES = (".csv", ".jsonl")
_MANIFESTS = ("manifest.csv", "manifest.jsonl")


class Entry(NamedTuple):
    """An audio file, and the columns of its row if a manifest lists it."""

    path: Path
    columns: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Listing:
    """Files of a folder, sorted, and what was left out of it, each with the reason."""

    entries: list[Entry] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)

    def describe_left_out(self) -> str:
        """Such as "3 .txt, 1 hidden"; empty if nothing was left out."""
        return ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(self.left_out.values()).items()))


def find_files(folder: Path) -> list[Path]:
    """The audio files below a folder, as `list_folder` has them."""
    return [entry.path for entry in list_folder(folder, has_suffix(AUDIO_SUFFIXES)).entries]


def has_suffix(suffixes: tuple[str, ...]) -> Callable[[Path], bool]:
    """Tells whether a file has one of these suffixes, in any case."""
    return lambda path: path.suffix.lower() in suffixes


def list_audio(path: Path, *, skip: Path | None = None) -> Listing:
    """The audio files of a folder or of a manifest.

    A manifest is a .csv or .jsonl file with a column `path`, relative to where it lies. Of a folder, those files that
    the manifests in it (`manifest.csv`, `manifest.jsonl`) list, else every audio file below.

    Args:
        path: folder or manifest.
        skip: a folder in it that is not searched.

    Raises:
        AudioError: a folder or manifest that is missing or names no audio.
    """
    if path.suffix in MANIFEST_SUFFIXES and not path.is_dir():
        listing = Listing(_read_manifest(path))
    elif not path.is_dir():
        raise AudioError(f"there is no folder {path} (looked from {Path.cwd()})")
    else:
        listing = list_folder(path, lambda file: has_suffix(AUDIO_SUFFIXES)(file) or file.name in _MANIFESTS, skip=skip)
        manifests = [entry.path for entry in listing.entries if entry.path.name in _MANIFESTS]
        if manifests:
            entries = [entry for manifest in manifests for entry in _read_manifest(manifest)]
            listed = {entry.path for entry in entries}
            others = (path for path, _ in listing.entries if path not in listed and path not in manifests)
            listing = Listing(entries, listing.left_out | dict.fromkeys(others, "not in a manifest"))
    if not listing.entries:
        raise AudioError(
            f"no audio in {path}: expected a folder of {', '.join(AUDIO_SUFFIXES)} files or with a manifest.csv, "
            f"or a manifest, a .csv or .jsonl file. Left out: {listing.describe_left_out() or 'nothing'}"
        )
    return listing


def list_folder(folder: Path, wanted: Callable[[Path], bool], *, skip: Path | None = None) -> Listing:
    """The wanted files below a folder, those of linked folders too.

    Names with a dot in front are left out: they are what systems and editors leave behind.
    """
    listing = Listing()
    _walk(folder, wanted, skip, (), listing)
    return listing


def _walk(
    folder: Path, wanted: Callable[[Path], bool], skip: Path | None, around: tuple[Path, ...], listing: Listing
) -> None:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        listing.left_out[folder] = f"folder that may not be read ({folder}: {error.strerror})"
        return
    around = (*around, folder.resolve())
    for path in paths:
        if path.name.startswith("."):
            listing.left_out[path] = "hidden"
        elif path.is_dir():
            if path.is_symlink() and path.resolve() in around:
                listing.left_out[path] = "link to a folder around it"
            elif skip is None or path.resolve() != skip.resolve():
                _walk(path, wanted, skip, around, listing)
        elif wanted(path):
            listing.entries.append(Entry(path))
        else:
            listing.left_out[path] = path.suffix.lower() or "without a suffix"


def _read_manifest(manifest: Path) -> list[Entry]:
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file) if manifest.suffix == ".csv" else map(json.loads, filter(str.strip, file))
            return [Entry(manifest.parent / row["path"], row) for row in rows]
    except FileNotFoundError as error:
        raise AudioError(f"there is no manifest {manifest} (looked from {Path.cwd()})") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise AudioError(f"{manifest} is no manifest: each row needs a `path`, {error!r}") from error
