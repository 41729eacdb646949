"""Archives of Kaldi, as ESPnet reads them: a vector of 32-bit integers for each clip."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from semtok.corpus.exporters.exporter import new_folder
from semtok.corpus.reading import TokenCorpus
from semtok.errors import CorpusError, needs_extra


def export_kaldi(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes an archive and its index, `l7.ark` and `l7.scp`, for each row of codes; keys are the clips' ids.

    Returns:
        What was written.

    Raises:
        CorpusError: ids with spaces, which keys may not have; a folder that has something in it.
    """
    with needs_extra("export"):
        from kaldiio import WriteHelper

    folder = new_folder(folder)
    columns = corpus.codebooks.columns
    with ExitStack() as stack:
        writers = [
            stack.enter_context(WriteHelper(f"ark,scp:{folder / name}.ark,{folder / name}.scp")) for name in columns
        ]
        for clip in corpus:
            if len(clip.id.split()) != 1:
                raise CorpusError(f"Kaldi's keys have no spaces, as the id {clip.id!r} has: give ids without")
            for writer, codes in zip(writers, clip.tokens.codes[0].numpy().astype(np.int32), strict=True):
                writer(clip.id, codes)
    return [folder / f"{name}.{suffix}" for name in columns for suffix in ("ark", "scp")]
