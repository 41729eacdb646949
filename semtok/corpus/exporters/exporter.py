"""What the exporters have in common: the folder they write to, and which ids of clips a format can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from semtok.corpus.plan import id_hash, repeated
from semtok.corpus.reading import TokenCorpus
from semtok.errors import CorpusError
from semtok.support.atomic import atomic_folder

_NAMED = 10


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder to write to, which becomes `folder` at the end; `CorpusError` if there is something in that."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} is there already: give a new folder")
    with atomic_folder(folder) as aside:
        yield aside


def check_one_row(corpus: TokenCorpus, form: str) -> None:
    """Raises `CorpusError` for a corpus of several rows of codes, where a format holds one."""
    columns = corpus.codebooks.columns
    if len(columns) > 1:
        raise CorpusError(
            f"{form} holds one row of codes, these are {', '.join(columns)}: choose one layer of one stage"
        )


def check_ids(corpus: TokenCorpus, need: str, fits: Callable[[str], bool]) -> None:
    """Raises `CorpusError`, which names them, for ids that a format cannot hold; `need` says what it needs."""
    if wrong := [name for name in corpus.ids() if not fits(name)]:
        raise CorpusError(f"{need}, {len(wrong)} ids are others: {_join(wrong)}; give the clips other ids")


def check_keys(corpus: TokenCorpus, form: str, key: Callable[[str], str]) -> None:
    """Raises `CorpusError`, which names them, for ids of which a format makes one key."""

    def keys() -> Iterator[str]:
        return map(key, corpus.ids())

    if twice := set(repeated(np.fromiter(map(id_hash, keys()), np.uint64), keys)):
        wrong = [name for name in corpus.ids() if key(name) in twice]
        raise CorpusError(f"{form} would have one key for several clips: {_join(wrong)}; give the clips other ids")


def leads_out(name: str) -> bool:
    """Whether a file of this name leaves the folder, or the archive, that it is put into."""
    return name.startswith("/") or ".." in name.split("/")


def _join(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
