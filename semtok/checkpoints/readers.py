"""The layouts that checkpoints are published in, each with its reader.

To read another one, write a class with the methods of `Reader`, in a file or a folder of its own beside
`speechbrain/`, and add it to `READERS`. Files that strangers wrote are opened by `untrusted/` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.native import Native
from semtok.checkpoints.parts import TokenizerParts, VocoderParts
from semtok.checkpoints.speechbrain.reader import PublishedSpeechBrain, SpeechBrain
from semtok.codebooks.layers import Layer
from semtok.errors import CheckpointError


class Reader(Protocol):
    """Reads checkpoints of one layout. Only the files that are needed are fetched."""

    expected: ClassVar[str]
    """What a repository in this layout holds, for the error about one that is in none."""

    def recognises(self, repository: Repository) -> bool:
        """Whether the repository is in this layout, by its name or by small files."""

    def tokenizer_parts(
        self, repository: Repository, *, layers: Sequence[Layer] | None, encoder: str | None
    ) -> TokenizerParts:
        """What the repository holds of a tokenizer; arguments and errors as in `Tokenizer.from_pretrained`."""

    def vocoder_parts(self, repository: Repository) -> VocoderParts:
        """What the repository holds of a vocoder; errors as in `Vocoder.from_pretrained`."""


READERS: tuple[Reader, ...] = (PublishedSpeechBrain(), Native(), SpeechBrain())
"""In the order in which they are asked: published names need no file, SpeechBrain's files a list of all."""


def find_reader(repository: Repository) -> Reader:
    """The first reader that recognises a repository; `CheckpointError` if none does."""
    for reader in READERS:
        if reader.recognises(repository):
            return reader
    files = repository.files
    lack = f"a {CONFIG} without format_version" if CONFIG in files else f"no file {CONFIG}"
    some = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
    expected = "; ".join(dict.fromkeys(reader.expected for reader in READERS))
    raise CheckpointError(
        f"{repository.name} has {lack}: it is no checkpoint, or an incomplete one. It holds {some or 'no files'}. "
        f"Expected: {expected}"
    )
