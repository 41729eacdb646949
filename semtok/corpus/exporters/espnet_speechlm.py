"""Archives of flat frames, lists of token names and `data.json`: what stage 5 of ESPnet's speechlm1 recipe leaves."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from semtok.corpus.exporters.archives import check_indexed, open_archive
from semtok.corpus.exporters.exporter import (
    check_values,
    check_words,
    codes_of,
    flatten,
    is_word,
    new_folder,
    one_line,
)
from semtok.corpus.reading import TokenCorpus

_MODALITY = "codec"
# The task of speech alone; those with text also need the subwords of a text model, which the recipe makes.
_TASK = "audiolm"
_LINES = {"text": "text", "speaker": "utt2spk"}


def export_espnet_speechlm(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes `wav.scp` and `data/wav_codec.ark`, of each clip a vector int32 [frames x rows]; `token_lists/`;
    `data.json` for the task `audiolm`; and, of the columns `text` and `speaker`, the files `text` and `utt2spk` with a
    line for each clip that has one.

    ESPnet divides the names of a modality by its streams. So the codes of row r are counted on from r times the size of
    the largest codebook, and the list has as many names for each row. The joint vocabulary that ESPnet makes of the
    lists puts them after its 256 special tokens.

    Returns:
        What was written.

    Raises:
        CorpusError: ids, or speakers, with spaces; a folder that has something in it, or a comma or a line break in
            its path, by which `data.json` parts its entries.
    """
    check_words(corpus)
    check_indexed(folder, also=",")
    if "speaker" in corpus.run.columns:
        check_values(corpus, "speaker", "Kaldi's speakers are single words", is_word)
    rows, most = len(corpus.codebooks.sizes), max(corpus.codebooks.sizes)
    columns = {column: name for column, name in _LINES.items() if column in corpus.run.columns}
    target, examples = folder.absolute(), list(corpus.ids())
    with new_folder(folder) as aside:
        (aside / "data").mkdir()
        archive = aside / "data" / f"wav_{_MODALITY}.ark"
        with ExitStack() as files:
            append = files.enter_context(open_archive(archive, aside / "wav.scp", target / "data"))
            lines = {
                column: files.enter_context((aside / name).open("w", encoding="utf-8", newline="\n"))
                for column, name in columns.items()
            }
            for clip in corpus:
                append(clip.id, flatten(codes_of(clip), most * np.arange(rows)).astype(np.int32))
                for column, file in lines.items():
                    if line := one_line(clip.columns[column] or ""):
                        file.write(f"{clip.id} {line}\n")
        lists = aside / "token_lists"
        lists.mkdir()
        names = (f"<{_MODALITY}_layer{row}_code{code}>\n" for row in range(rows) for code in range(most))
        (lists / f"{_MODALITY}_token_list").write_text("".join(names), encoding="utf-8")
        (lists / f"{_MODALITY}_code_per_frame").write_text(f"{rows}\n", encoding="utf-8")
        data = {
            "task": _TASK,
            "vocabularies": [f"{target}/token_lists/{_MODALITY}_token_list"],
            "data_files": [f"{target}/wav.scp,{_MODALITY},kaldi_ark"],
            "num_examples": len(examples),
            "examples": examples,
        }
        (aside / "data.json").write_text(json.dumps(data, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    written = ["data.json", "wav.scp", "token_lists", "data", *columns.values()]
    return [folder / name for name in written]
