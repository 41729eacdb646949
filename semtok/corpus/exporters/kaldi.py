"""Archives of Kaldi, as ESPnet reads them: a vector of 32-bit integers for each clip."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from semtok.corpus.exporters.exporter import check_ids, new_folder
from semtok.corpus.reading import TokenCorpus
from semtok.errors import CorpusError, needs_extra


def export_kaldi(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes an archive and its index, `l7.ark` and `l7.scp`, for each row of codes; keys are the clips' ids.

    Returns:
        What was written.

    Raises:
        CorpusError: ids with spaces, which keys may not have; a folder that has something in it, or a line break in
            its name.
    """
    with needs_extra("export"):
        from kaldiio import save_ark

    check_ids(corpus, "Kaldi's keys are single words", lambda name: len(name.split()) == 1)
    if len(str(folder).splitlines()) > 1:
        raise CorpusError(f"an index of Kaldi holds no path with a line break, such as {str(folder)!r}: give another")
    columns = corpus.codebooks.columns
    with new_folder(folder) as aside, ExitStack() as files:
        archives = [files.enter_context((aside / f"{name}.ark").open("wb")) for name in columns]
        indices = [files.enter_context((aside / f"{name}.scp").open("w", encoding="utf-8")) for name in columns]
        for clip in corpus:
            rows = clip.tokens.codes[0].numpy().astype(np.int32)
            for name, archive, index, codes in zip(columns, archives, indices, rows, strict=True):
                start = archive.tell() + len(f"{clip.id} ".encode())
                save_ark(archive, {clip.id: codes})
                index.write(f"{clip.id} {folder / name}.ark:{start}\n")
    return [folder / f"{name}.{suffix}" for name in columns for suffix in ("ark", "scp")]
