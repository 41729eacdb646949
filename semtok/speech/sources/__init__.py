"""Everything that clips can come from; `open_source` tells which it is."""

from __future__ import annotations

from pathlib import Path

from semtok.audio.files import AUDIO_SUFFIXES
from semtok.errors import AudioError
from semtok.speech.sources.cuts import SUFFIXES as CUTS
from semtok.speech.sources.cuts import Cuts
from semtok.speech.sources.files import MANIFESTS, Folder, Manifest
from semtok.speech.sources.hub import PREFIX, HubDataset
from semtok.speech.sources.places import Place
from semtok.speech.sources.shar import Shar, shards_of
from semtok.speech.sources.source import Opened, Source
from semtok.speech.sources.tars import Tars

__all__ = ["Opened", "Source", "is_path", "open_source"]


def is_path(name: str) -> bool:
    """Whether a source of this name is on this machine's disks."""
    return "://" not in name and not name.startswith(PREFIX)


def open_source(name: str, *, skip: Path | None = None) -> Source:
    """The source of this name.

    Args:
        name: of a folder of audio, or of tars; of a manifest (.csv, .jsonl, .parquet) or a .tar; on disk or as a URL
            that fsspec opens; of cuts of Lhotse (.jsonl.gz), or a folder of its Shar; or of a dataset,
            "hub:owner/name?split=...", see `HubDataset`.
        skip: a folder that is no part of it, where it lies in it.

    Raises:
        AudioError: there is no such thing, or no audio in it.
    """
    if name.startswith(PREFIX):
        return HubDataset(name.removeprefix(PREFIX))
    place = Place(name)
    if place.suffix == ".tar":
        return Tars(place)
    if name.endswith(CUTS):
        return Cuts(Path(name))
    if place.suffix in MANIFESTS:
        return Manifest(place)
    if not place.is_folder():
        raise AudioError(
            f"there is no folder {name}, and it is no manifest ({', '.join(MANIFESTS)}), .tar or {PREFIX}OWNER/NAME"
        )
    if place.path is not None and shards_of(place.path):
        return Shar(place.path)
    if place.find((".tar",)) and not place.find(AUDIO_SUFFIXES):
        return Tars(place)
    return Folder(place, skip=skip)
