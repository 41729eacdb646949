"""Tars of WebDataset: of each clip the codes as `.npy`, and what else is known as `.json`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np

from semtok.codebooks.codebooks import code_type
from semtok.corpus.exporters.exporter import new_folder, plain_key
from semtok.corpus.reading import TokenCorpus
from semtok.support.atomic import atomic_write


def export_webdataset(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes a tar for each shard: `KEY.codes.npy`, [rows, frames], and `KEY.json` of each clip.

    Returns:
        What was written.

    Raises:
        CorpusError: a folder that has something in it.
    """
    folder = new_folder(folder)
    paths = []
    for number, part in enumerate(corpus.parts()):
        paths.append(folder / f"part-{number:05}.tar")
        with atomic_write(paths[-1]) as aside, tarfile.open(aside, "w") as tar:
            for clip in part:
                content = io.BytesIO()
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
                _add(tar, f"{plain_key(clip)}.codes.npy", content.getvalue())
                _add(tar, f"{plain_key(clip)}.json", json.dumps(facts, ensure_ascii=False).encode())
    return paths


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
