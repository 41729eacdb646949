"""JSON lines as slamkit's `extract_features.py` writes them: units without repetitions, and how often each came."""

from __future__ import annotations

import json
from pathlib import Path

from semtok.corpus.exporters.exporter import check_one_row, codes_of, new_folder, runs_of
from semtok.corpus.reading import TokenCorpus

_FILE = "features.jsonl"


def export_slamkit(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes `features.jsonl`: `units`, `duration` in frames, and the id as `file_name`, of each clip.

    Returns:
        What was written.

    Raises:
        CorpusError: several rows of codes; a folder that has something in it.
    """
    check_one_row(corpus, "slamkit's format")
    with new_folder(folder) as aside, (aside / _FILE).open("w", encoding="utf-8") as file:
        for clip in corpus:
            units, durations = runs_of(codes_of(clip)[0].tolist())
            record = {"units": units, "duration": durations, "file_name": clip.id}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return [folder / _FILE]
