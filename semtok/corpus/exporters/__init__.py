"""A corpus of tokens in the formats of others; each a function in a file, by its name in `EXPORTERS`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from semtok.corpus.exporters.kaldi import export_kaldi
from semtok.corpus.exporters.lhotse import export_lhotse
from semtok.corpus.exporters.megatron import export_megatron
from semtok.corpus.exporters.slamkit import export_slamkit
from semtok.corpus.exporters.webdataset import export_webdataset
from semtok.corpus.reading import TokenCorpus, read
from semtok.errors import CorpusError

EXPORTERS: dict[str, Callable[[TokenCorpus, Path], list[Path]]] = {
    "lhotse": export_lhotse,
    "slamkit": export_slamkit,
    "webdataset": export_webdataset,
    "kaldi": export_kaldi,
    "megatron": export_megatron,
}


def export(
    folder: str | os.PathLike[str],
    form: str,
    target: str | os.PathLike[str],
    *,
    layers: Sequence[int] | None = None,
) -> list[Path]:
    """Writes a finished corpus in another format.

    Args:
        folder: of the corpus.
        form: one of `EXPORTERS`; each says what it writes.
        target: a new folder.
        layers: these alone, in this order; all by default.

    Returns:
        What was written.

    Raises:
        CorpusError: a format that there is not, or that cannot hold this corpus; a target that has something in it; or
            as `read`.
    """
    if form not in EXPORTERS:
        raise CorpusError(f"there is no format {form!r}, only {', '.join(EXPORTERS)}")
    return EXPORTERS[form](read(folder, layers=layers), Path(target))
