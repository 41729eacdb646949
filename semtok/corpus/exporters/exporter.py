"""What the exporters have in common: the folder they write to, and names that others can live with."""

from __future__ import annotations

import re
from pathlib import Path

from semtok.corpus.reading import TokenClip, TokenCorpus
from semtok.errors import CorpusError


def only_row(corpus: TokenCorpus, form: str) -> str:
    """The one column of codes of a corpus, for a format that holds no more; `CorpusError` if there are several."""
    columns = corpus.codebooks.columns
    if len(columns) > 1:
        raise CorpusError(
            f"{form} holds one row of codes, these are {', '.join(columns)}: choose one layer of one stage"
        )
    return columns[0]


def new_folder(folder: Path) -> Path:
    """Makes a folder; `CorpusError` if there is something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} is there already: give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def plain_key(clip: TokenClip) -> str:
    """The id of a clip without what keys of archives may not have: spaces, and dots, which begin a suffix."""
    return re.sub(r"[\s.]", "_", clip.id)
