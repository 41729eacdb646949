"""Which files of a folder hold audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3"),
    *(".oga", ".mp2", ".aif", ".aiff", ".aifc", ".au", ".snd", ".sph", ".w64", ".rf64", ".caf"),
)
"""What is taken for a recording where a folder is searched."""

WRITTEN_SUFFIXES = AUDIO_SUFFIXES[:5]
"""What `save_audio` writes."""


@dataclass(frozen=True)
class Listing:
    """Files of a folder, sorted, and what was left out of it, each with the reason."""

    paths: list[Path] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)

    def describe_left_out(self) -> str:
        """Such as "3 .txt, 1 hidden"; empty if nothing was left out."""
        return ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(self.left_out.values()).items()))


def has_suffix(suffixes: tuple[str, ...]) -> Callable[[Path], bool]:
    """Tells whether a file has one of these suffixes, in any case."""
    return lambda path: path.suffix.lower() in suffixes


def list_folder(folder: Path, wanted: Callable[[Path], bool], *, skip: Path | None = None) -> Listing:
    """The wanted files below a folder, those of linked folders too.

    Names with a dot in front are left out: they are what systems and editors leave behind.

    Args:
        folder: to search.
        wanted: tells whether a file is one.
        skip: a folder in it that is not searched.
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
            listing.paths.append(path)
        else:
            listing.left_out[path] = path.suffix.lower() or "without a suffix"
