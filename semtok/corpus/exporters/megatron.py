"""Arrays of ids in one file, and an index of where each clip begins: the indexed dataset of Megatron-LM, version 1."""

from __future__ import annotations

import json
import struct
from array import array
from pathlib import Path

import numpy as np

from semtok.corpus.exporters.exporter import new_folder
from semtok.corpus.reading import TokenCorpus

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_TYPES = {np.dtype(np.uint16): 8, np.dtype(np.int32): 4}


def export_megatron(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes `codes.bin`, `codes.idx` and `codes.json`; a clip is a document.

    Of several rows the ids of a frame follow each other, and the codes of a row are counted on from those of the rows
    before it: `codes.json` says from where. A vocabulary with words or marks is `semtok.language`'s.

    Returns:
        What was written.

    Raises:
        CorpusError: a folder that has something in it.
    """
    sizes = corpus.codebooks.sizes
    offsets = np.cumsum([0, *sizes[:-1]])
    dtype = np.dtype(np.uint16 if sum(sizes) <= 1 << 16 else np.int32)
    lengths = array("i")
    facts = {
        "offsets": dict(zip(corpus.codebooks.columns, offsets.tolist(), strict=True)),
        "vocabulary_size": sum(sizes),
        "fingerprint": corpus.run.fingerprint,
    }
    with new_folder(folder) as aside:
        with (aside / "codes.bin").open("wb") as file:
            for clip in corpus:
                ids = (clip.tokens.codes[0].numpy() + offsets[:, None]).T.astype(dtype)
                file.write(ids.tobytes())
                lengths.append(ids.size)
        counts = np.frombuffer(lengths, np.int32) if lengths else np.zeros(0, np.int32)
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])[: len(counts)] * dtype.itemsize
        with (aside / "codes.idx").open("wb") as file:
            file.write(_MAGIC + struct.pack("<QBQQ", _VERSION, _TYPES[dtype], len(counts), len(counts) + 1))
            file.write(counts.tobytes() + starts.astype(np.int64).tobytes())
            file.write(np.arange(len(counts) + 1, dtype=np.int64).tobytes())
        (aside / "codes.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return [folder / f"codes.{suffix}" for suffix in ("bin", "idx", "json")]
