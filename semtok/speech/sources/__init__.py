"""Everything that clips can come from; `open_source` tells which it is."""

from __future__ import annotations

from pathlib import Path

from semtok.audio.files import AUDIO_SUFFIXES
from semtok.errors import AudioError
from semtok.speech.sources.cuts import SUFFIXES as CUTS
from semtok.speech.sources.cuts import Cuts
from semtok.speech.sources.files import MANIFESTS, File, FileSource, Folder, Manifest
from semtok.speech.sources.hub import PREFIX, Dataset, HubDataset
from semtok.speech.sources.places import Place
from semtok.speech.sources.shar import Shar, shards_of
from semtok.speech.sources.source import Opened, Source
from semtok.speech.sources.tars import SUFFIXES as TARS
from semtok.speech.sources.tars import Tars

__all__ = ["Dataset", "FileSource", "Opened", "Source", "is_path", "open_source"]


def is_path(name: str) -> bool:
    """Whether a source of this name is on this machine's disks."""
    return "://" not in name and not name.startswith(PREFIX)


def open_source(source: str | Path | Dataset, *, skip: Path | None = None, allow_urls: bool = False) -> Source:
    """The source of this name.

    Args:
        source: name of a folder of audio, or of tars; of an audio file, a manifest (.csv, .jsonl, .parquet) or a tar
            (.tar, .tar.gz, .tgz); on disk or as a URL that fsspec opens; of cuts of Lhotse (.jsonl.gz), or a folder of
            its Shar; or of a dataset, "hub:owner/name?split=...", see `Dataset.parse`; or a dataset.
        skip: a folder that is no part of it, where it lies in it.
        allow_urls: whether a manifest may name URLs that are not below its own folder, and a dataset URLs that are not
            of the Hub.

    Raises:
        AudioError: there is no such thing, or no audio in it.
    """
    if isinstance(source, Dataset):
        return HubDataset(source, by_file=False, allow_urls=allow_urls)
    name = str(source)
    if name.startswith(PREFIX):
        return HubDataset(Dataset.parse(name.removeprefix(PREFIX)), by_file=True, allow_urls=allow_urls)
    place = Place(name)
    if place.path is None or not place.path.is_dir():
        if name.lower().endswith(TARS):
            return Tars(place)
        if name.endswith(CUTS):
            return Cuts(Path(name))
        if place.suffix in MANIFESTS:
            return Manifest(place, allow_urls=allow_urls)
        if place.suffix in AUDIO_SUFFIXES:
            return File(place)
    if not place.is_folder():
        raise AudioError(
            f"there is no folder {name}, and it is no audio file, manifest ({', '.join(MANIFESTS)}), {TARS[0]} "
            f"or {PREFIX}OWNER/NAME"
        )
    if place.path is not None and shards_of(place.path):
        return Shar(place.path)
    if place.find(TARS) and not place.find(AUDIO_SUFFIXES):
        return Tars(place)
    return Folder(place, skip=skip, allow_urls=allow_urls)
