"""JSON lines as slamkit's `extract_features.py` writes them: units without repetitions, and how often each came."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from semtok.corpus.exporters.exporter import new_folder, only_row
from semtok.corpus.reading import TokenCorpus
from semtok.support.atomic import atomic_write


def export_slamkit(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes `features.jsonl`: `units`, `duration` in frames and `file_name` of each clip.

    Returns:
        What was written.

    Raises:
        CorpusError: several rows of codes; a folder that has something in it.
    """
    only_row(corpus, "slamkit's format")
    path = new_folder(folder) / "features.jsonl"
    with atomic_write(path) as aside, aside.open("w", encoding="utf-8") as file:
        for clip in corpus:
            runs = [(code, len(list(run))) for code, run in itertools.groupby(clip.tokens.codes[0, 0].tolist())]
            record = {
                "units": [code for code, _ in runs],
                "duration": [count for _, count in runs],
                "file_name": clip.path if clip.id.startswith(clip.path) else clip.id,
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return [path]
