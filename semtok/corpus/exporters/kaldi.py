"""Archives of Kaldi, as ESPnet reads them: a vector of 32-bit integers for each clip."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from semtok.corpus.exporters.archives import check_indexed, open_archive
from semtok.corpus.exporters.exporter import check_words, codes_of, new_folder
from semtok.corpus.reading import TokenCorpus


def export_kaldi(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes an archive and its index, `l7.ark` and `l7.scp`, for each row of codes; keys are the clips' ids.

    Returns:
        What was written.

    Raises:
        CorpusError: ids with spaces, which keys may not have; a folder that has something in it, or a line break in
            its name.
    """
    check_words(corpus)
    check_indexed(folder)
    columns = corpus.codebooks.columns
    with new_folder(folder) as aside, ExitStack() as files:
        archives = [
            files.enter_context(open_archive(aside / f"{name}.ark", aside / f"{name}.scp", folder)) for name in columns
        ]
        for clip in corpus:
            for append, codes in zip(archives, codes_of(clip).astype(np.int32), strict=True):
                append(clip.id, codes)
    return [folder / f"{name}.{suffix}" for name in columns for suffix in ("ark", "scp")]
