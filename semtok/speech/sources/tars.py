"""Tars of WebDataset: the files of a clip follow each other, named alike up to the first dot."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Iterable, Iterator, Mapping

from semtok.audio.files import AUDIO_SUFFIXES
from semtok.audio.recordings import FileRecording
from semtok.errors import AudioError
from semtok.speech.clip import Clip
from semtok.speech.sources.places import Place
from semtok.speech.sources.source import Opened, Source

_TEXTS = ("txt", "json")


class Tars(Source):
    """Tars of clips; a row of the plan is a tar, which is read from its beginning to its end.

    A clip is called after its tar and its key. The texts beside its audio, `.txt` and `.json`, are columns.

    Args:
        root: the tar, or a folder of tars.
    """

    rows_are_clips = False

    def __init__(self, root: Place) -> None:
        self._root = root.parent if root.suffix == ".tar" else root
        self._names = (
            [root.name[len(root.parent.name) :].lstrip("/")] if root.suffix == ".tar" else root.find((".tar",))
        )

    @property
    def columns(self) -> Mapping[str, str]:
        return dict.fromkeys(_TEXTS, "string")

    def rows(self) -> Iterator[Clip]:
        return (Clip(name, name) for name in self._names)

    def recordings(self, rows: Iterable[Clip], sample_rate: int) -> Iterator[Opened]:
        for row in rows:
            yield from self._read(row, sample_rate)

    def _read(self, row: Clip, sample_rate: int) -> Iterator[Opened]:
        try:
            with (self._root / row.path).open() as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                yield from _open_all(tar, row.path, sample_rate)
        except (AudioError, tarfile.TarError, OSError, EOFError) as error:
            yield row, AudioError(f"{row.path} cannot be read to its end: {error}")


def _open_all(tar: tarfile.TarFile, name: str, sample_rate: int) -> Iterator[Opened]:
    files = (member for member in tar if member.isfile() and not _base(member).startswith("."))
    for key, members in itertools.groupby(files, _key):
        parts = {_base(member).partition(".")[2].lower(): _read(tar, member) for member in members}
        clip = Clip(
            f"{name.removesuffix('.tar')}/{key}",
            f"{name}/{key}",
            columns={text: parts[text].decode(errors="replace") for text in _TEXTS if text in parts},
        )
        audio = [part for part in parts if f".{part.rpartition('.')[2]}" in AUDIO_SUFFIXES]
        if len(audio) == 1:
            yield clip, FileRecording(parts[audio[0]], f"{clip.path}.{audio[0]}", sample_rate)
        else:
            yield clip, AudioError(f"{clip.path} has {len(audio)} files of audio among {sorted(parts)}: expected one")


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _base(member: tarfile.TarInfo) -> str:
    return member.name.rpartition("/")[2]


def _key(member: tarfile.TarInfo) -> str:
    """What the files of a clip have in common: the path up to the first dot in the name."""
    folder, slash, base = member.name.removeprefix("./").rpartition("/")
    return folder + slash + base.partition(".")[0]
