"""Tars of WebDataset: the files of a clip follow each other, named alike up to the first dot."""

from __future__ import annotations

import itertools
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from semtok.audio.files import AUDIO_SUFFIXES
from semtok.audio.recordings import FileRecording
from semtok.errors import AudioError
from semtok.speech.clip import Clip
from semtok.speech.sources.places import MAX_BYTES, Place
from semtok.speech.sources.source import Opened, Source

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_TEXTS = ("txt", "json")
# Of a text beside the audio, and of the headers that tarfile reads into memory.
_MAX_TEXT_BYTES = 1 << 24
_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
# The first bytes of gzip, bzip2 and xz.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


class Tars(Source):
    """Tars of clips; a row is a tar, which is read from its beginning to its end.

    A clip is called after its tar and its key. The texts beside its audio, `.txt` and `.json`, are columns. No more
    than one clip is in memory, and none whose file has more than `MAX_BYTES`. Links to earlier files of the tar are
    followed; in a tar that is compressed or behind a URL, and so cannot be sought in, they are errors.

    Args:
        root: the tar, or a folder of tars.
    """

    rows_are_clips = False

    def __init__(self, root: Place) -> None:
        is_tar = root.name.lower().endswith(SUFFIXES)
        self._root = root.parent if is_tar else root
        self._names = [root.base] if is_tar else root.find(SUFFIXES)

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
            with _open(self._root / row.path) as (tar, can_seek):
                yield from _clips(tar, can_seek, row.path, sample_rate)
        except (AudioError, tarfile.TarError, OSError, EOFError) as error:
            yield row, AudioError(f"{row.path} cannot be read to its end: {error}")

    def locate(self, clip: Clip) -> str:
        return str(self._root / clip.path)

    def stamp(self, row: Clip) -> Any:
        return (self._root / row.path).stamp()


class _Member(tarfile.TarInfo):
    """A header of a tar, refused where tarfile would read an extension of any size into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _LONG_HEADERS and member.size > _MAX_TEXT_BYTES:
            raise tarfile.ReadError(f"a header has {member.size} bytes")
        return member


@contextmanager
def _open(place: Place) -> Iterator[tuple[tarfile.TarFile, bool]]:
    """A tar to read, and whether it can be sought in: on disk if it is not compressed. Others are streams."""
    with place.open() as file:
        can_seek = place.path is not None and not file.read(5).startswith(_COMPRESSED)
        if place.path is not None:
            file.seek(0)
        with tarfile.open(fileobj=file, mode="r:" if can_seek else "r|*", tarinfo=_Member) as tar:
            yield tar, can_seek


def _clips(tar: tarfile.TarFile, can_seek: bool, name: str, sample_rate: int) -> Iterator[Opened]:
    stem = name[: -len(next(suffix for suffix in SUFFIXES if name.lower().endswith(suffix)))]
    for key, members in itertools.groupby(_files(tar, can_seek), lambda member: _key(member[0])):
        parts, texts = [], {}
        audio: bytes | AudioError = AudioError("")
        for member, content in members:
            part = _base(member).partition(".")[2].lower()
            parts.append(part)
            if f".{part.rpartition('.')[2]}" in AUDIO_SUFFIXES:
                audio = _read(tar, content, MAX_BYTES)
            elif part in _TEXTS and not isinstance(text := _read(tar, content, _MAX_TEXT_BYTES), AudioError):
                texts[part] = text.decode(errors="replace")
        clip = Clip(f"{stem}/{key}", f"{name}/{key}", columns=texts)
        audible = [part for part in parts if f".{part.rpartition('.')[2]}" in AUDIO_SUFFIXES]
        if len(audible) != 1:
            wrong = f"{clip.path} has {len(audible)} files of audio among {sorted(parts)}: expected one"
            yield clip, AudioError(wrong)
        elif isinstance(audio, AudioError):
            yield clip, AudioError(f"{clip.path}.{audible[0]} {audio}")
        else:
            yield clip, FileRecording(audio, f"{clip.path}.{audible[0]}", sample_rate)


def _files(tar: tarfile.TarFile, can_seek: bool) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarInfo | None]]:
    """The files of a tar that are not hidden, and which member has the content of each; None if no earlier one has."""
    earlier: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        if not can_seek:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
        content: tarfile.TarInfo | None = member
        if member.islnk() or member.issym():
            target = member.linkname
            if member.issym():
                target = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), target))
            content = earlier.get(posixpath.normpath(target))
            if content is None and not member.name.lower().endswith((*AUDIO_SUFFIXES, *_TEXTS)):
                continue
        elif not member.isfile():
            continue
        if content is not None and can_seek:
            earlier[posixpath.normpath(member.name)] = content
        if not _base(member).startswith("."):
            yield member, content


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo | None, most: int) -> bytes | AudioError:
    """The content of a member, or what is wrong with it."""
    if member is None:
        return AudioError("is a link to what cannot be read: write the tar with --dereference --hard-dereference")
    if member.size > most:
        return AudioError(f"has {member.size} bytes, of which no more than {most} are read into memory")
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _base(member: tarfile.TarInfo) -> str:
    return member.name.rpartition("/")[2]


def _key(member: tarfile.TarInfo) -> str:
    """What the files of a clip have in common: the path up to the first dot in the name."""
    folder, slash, base = member.name.removeprefix("./").rpartition("/")
    return folder + slash + base.partition(".")[0]
