"""What the exporters have in common: where they write, which ids a format can hold, codes and texts as formats take
them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from semtok.corpus.plan import id_hash, repeated
from semtok.corpus.reading import TokenClip, TokenCorpus
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


def check_sizes(corpus: TokenCorpus, form: str, most: int) -> None:
    """Raises `CorpusError` for codebooks of more codes than a format has signs for."""
    columns = zip(corpus.codebooks.columns, corpus.codebooks.sizes, strict=True)
    if large := [f"{name} of {size}" for name, size in columns if size > most]:
        raise CorpusError(f"{form} has signs for {most} codes of a codebook, these are larger: {', '.join(large)}")


def check_ids(corpus: TokenCorpus, need: str, fits: Callable[[str], bool]) -> None:
    """Raises `CorpusError`, which names them, for ids that a format cannot hold; `need` says what it needs."""
    if wrong := [name for name in corpus.ids() if not fits(name)]:
        raise CorpusError(f"{need}, {len(wrong)} ids are others: {join_names(wrong)}; give the clips other ids")


def check_words(corpus: TokenCorpus) -> None:
    """Raises `CorpusError`, which names them, for ids that are no keys of Kaldi."""
    check_ids(corpus, "Kaldi's keys are single words", is_word)


def check_keys(corpus: TokenCorpus, form: str, key: Callable[[str], str]) -> None:
    """Raises `CorpusError`, which names them, for ids of which a format makes one key."""

    def keys() -> Iterator[str]:
        return map(key, corpus.ids())

    if twice := set(repeated(np.fromiter(map(id_hash, keys()), np.uint64), keys)):
        wrong = [name for name in corpus.ids() if key(name) in twice]
        raise CorpusError(f"{form} would have one key for several clips: {join_names(wrong)}; give the clips other ids")


def check_columns(corpus: TokenCorpus, form: str, *names: str) -> None:
    """Raises `CorpusError` for a corpus that lacks one of these columns, or clips, which it names, without a value."""
    there = corpus.run.columns
    if missing := [name for name in names if name not in there]:
        have = ", ".join(there) or "none"
        raise CorpusError(f"{form} needs columns {', '.join(missing)} of the manifest, this corpus has {have}")
    for name in names:
        if lacking := [facts["id"] for facts in corpus.facts("id", name) if facts[name] is None]:
            raise CorpusError(f"{form} needs a {name} of every clip, {len(lacking)} have none: {join_names(lacking)}")


def check_values(corpus: TokenCorpus, name: str, need: str, fits: Callable[[str], bool]) -> None:
    """Raises `CorpusError`, which names the clips, for values of a column, or of `path`, that a format cannot hold."""
    both = [
        f"{facts['id']!r} has {facts[name]!r}"
        for facts in corpus.facts("id", name)
        if facts[name] is not None and not fits(str(facts[name]))
    ]
    if both:
        more = f" and {len(both) - _NAMED} more" if len(both) > _NAMED else ""
        raise CorpusError(f"{need}, but {', '.join(both[:_NAMED])}{more}")


def find_recordings(corpus: TokenCorpus, form: str) -> Path:
    """The folder that the paths of a corpus are in, where a format names recordings.

    Raises:
        CorpusError: they are not there as files; clips, which it names, that are parts of a recording.
    """
    source = Path(corpus.run.source).absolute()
    root = source if source.is_dir() else source.parent
    seen: set[str] = set()
    parts, missing = [], []
    for facts in corpus.facts("id", "path", "start"):
        if facts["start"] > 0 or facts["path"] in seen:
            parts.append(facts["id"])
        elif not (root / facts["path"]).is_file():
            missing.append(facts["path"])
        seen.add(facts["path"])
    if parts:
        raise CorpusError(
            f"{form} names whole recordings, these clips are parts of one: {join_names(parts)}; cut them into files"
        )
    if missing:
        raise CorpusError(f"{form} names recordings, but there are no files {join_names(missing)} in {root}")
    return root


def is_word(text: str) -> bool:
    """Whether a text is one word, whatever kind of space there might be."""
    return len(text.split()) == 1 and text.split()[0] == text


def leads_out(name: str) -> bool:
    """Whether a file of this name leaves the folder, or the archive, that it is put into."""
    return name.startswith("/") or ".." in name.split("/")


def one_line(text: object) -> str:
    """A text as one line, with single spaces."""
    return " ".join(str(text).split())


def named_after(folder: Path, form: str) -> str:
    """The name of a folder, as that of what is exported to it; `CorpusError` if it is no plain word."""
    name = folder.absolute().name
    if not re.fullmatch(r"[\w.-]+", name):
        raise CorpusError(f"{form} names its data after the folder, in letters, digits and _.-, got {name!r}")
    return name


def codes_of(clip: TokenClip) -> npt.NDArray[np.int64]:
    """Of a clip: [rows, frames]."""
    codes: npt.NDArray[np.int64] = clip.tokens.codes[0].numpy()
    return codes


def flatten(codes: npt.NDArray[np.int64], offsets: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Codes [rows, frames], each row counted on from its offset, frame by frame: [frames x rows]."""
    flat: npt.NDArray[np.int64] = (codes + np.reshape(offsets, (-1, 1))).T.ravel()
    return flat


def runs_of(codes: Iterable[int]) -> tuple[list[int], list[int]]:
    """Codes without repetitions, and how many frames each lasts."""
    runs = [(code, len(list(run))) for code, run in itertools.groupby(codes)]
    return [code for code, _ in runs], [count for _, count in runs]


def join_names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
