"""Tars of WebDataset: of each clip the codes as `.npy`, and what else is known as `.json`."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np

from semtok.codebooks.codebooks import code_type
from semtok.corpus.exporters.exporter import check_ids, check_keys, new_folder
from semtok.corpus.reading import TokenClip, TokenCorpus


def export_webdataset(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes a tar for each shard: `KEY.codes.npy`, [rows, frames], and `KEY.json` of each clip.

    Returns:
        What was written.

    Raises:
        CorpusError: ids that end in a slash or are empty, and ids of which `plain_key` makes one; a folder that has
            something in it.
    """
    check_ids(corpus, "keys of WebDataset end in a name", lambda name: plain_key(name)[-1:] not in ("", "/"))
    check_keys(corpus, "WebDataset", plain_key)
    names = [f"part-{number:05}.tar" for number in range(len(corpus.paths))]
    with new_folder(folder) as aside:
        for name, part in zip(names, corpus.parts(), strict=True):
            with tarfile.open(aside / name, "w") as tar:
                for clip in part:
                    _write(tar, clip, part)
    return [folder / name for name in names]


def plain_key(name: str) -> str:
    """An id as a key: with "_" for spaces and for dots, which begin a suffix, and not absolute."""
    return re.sub(r"[\s.]", "_", name).lstrip("/")


def _write(tar: tarfile.TarFile, clip: TokenClip, corpus: TokenCorpus) -> None:
    content, key = io.BytesIO(), plain_key(clip.id)
    np.save(content, clip.tokens.codes[0].numpy().astype(code_type(max(corpus.codebooks.sizes))))
    facts = {
        "id": clip.id,
        "path": clip.path,
        "start": clip.start,
        "duration": clip.duration,
        "rows": corpus.codebooks.columns,
        "fingerprint": corpus.run.fingerprint,
        **clip.columns,
    }
    _add(tar, f"{key}.codes.npy", content.getvalue())
    _add(tar, f"{key}.json", json.dumps(facts, ensure_ascii=False).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
