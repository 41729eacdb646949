"""Recordings that come with the page; examples/README.md has their origin and licences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).with_name("examples")


@dataclass(frozen=True)
class Example:
    """A recording.

    Args:
        file: its name.
        label: what it is, in words.
    """

    file: str
    label: str

    @property
    def path(self) -> Path:
        return _FOLDER / self.file

    @property
    def key(self) -> str:
        """Of the recording in the address of the page."""
        return self.path.stem

    def entry(self, url: str) -> dict[str, str]:
        """As `semtok.listen` takes it, where it is at an address."""
        return {"key": self.key, "label": self.label, "url": url}


EXAMPLES = (
    Example("first_voice.flac", "A man reads, 4 s"),
    Example("second_voice.flac", "A woman reads, 5 s"),
    Example("noisy.ogg", "With noise, 4 s"),
)
