"""`.km` files of fairseq, in the order of a `.tsv`, and the forms in which unit vocoders read them (textlesslib,
speech-resynthesis)."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from semtok.corpus.exporters.exporter import (
    check_one_row,
    check_values,
    codes_of,
    find_recordings,
    named_after,
    new_folder,
    runs_of,
)
from semtok.corpus.reading import TokenCorpus


def export_km(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes, for a folder `train`, `train.tsv`, `train.km` and `dict.km.txt`; `train.units` and `train.durations`,
    runs once and how many frames each lasts; and `train.txt`, lines with `audio`, `hubert` and `duration` in seconds.

    The line of a clip is the same in all of them; `train.tsv` has the folder of the recordings above them.

    Returns:
        What was written.

    Raises:
        CorpusError: several rows of codes; recordings that are not there, or of which clips are parts; paths with a tab
            or a line break; a folder that has something in it, or whose name is no plain word.
    """
    check_one_row(corpus, "fairseq's .km")
    root = find_recordings(corpus, "fairseq's .tsv")
    need = "fairseq's .tsv parts paths by tabs and line breaks"
    check_values(corpus, "path", need, lambda path: "\t" not in path and len(path.splitlines()) == 1)
    split, (size,) = named_after(folder, "fairseq"), corpus.codebooks.sizes
    suffixes = ("tsv", "km", "units", "durations", "txt")
    with new_folder(folder) as aside:
        with ExitStack() as files:
            tsv, km, units, durations, txt = [
                files.enter_context((aside / f"{split}.{suffix}").open("w", encoding="utf-8", newline="\n"))
                for suffix in suffixes
            ]
            tsv.write(f"{root}\n")
            for clip in corpus:
                codes = codes_of(clip)[0].tolist()
                once, counts = runs_of(codes)
                tsv.write(f"{clip.path}\t{clip.num_samples}\n")
                km.write(_join(codes))
                units.write(_join(once))
                durations.write(_join(counts))
                record = {"audio": str(root / clip.path), "hubert": _join(codes).strip(), "duration": clip.duration}
                txt.write(json.dumps(record, ensure_ascii=False) + "\n")
        entries = "".join(f"{code} 1\n" for code in range(size))
        (aside / "dict.km.txt").write_text(entries, encoding="utf-8")
    return [*(folder / f"{split}.{suffix}" for suffix in suffixes), folder / "dict.km.txt"]


def _join(numbers: list[int]) -> str:
    return " ".join(map(str, numbers)) + "\n"
