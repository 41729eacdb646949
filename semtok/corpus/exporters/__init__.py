"""A corpus of tokens in the formats of others; each a function in a file, by its name in `EXPORTERS`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semtok.codebooks.layers import Layer
from semtok.corpus.exporters.chat import export_chat
from semtok.corpus.exporters.dasb import export_dasb
from semtok.corpus.exporters.espnet_speechlm import export_espnet_speechlm
from semtok.corpus.exporters.espnet_text import export_espnet_text
from semtok.corpus.exporters.exporter import check_keys
from semtok.corpus.exporters.kaldi import export_kaldi
from semtok.corpus.exporters.km import export_km
from semtok.corpus.exporters.lhotse import export_lhotse
from semtok.corpus.exporters.megatron import export_megatron
from semtok.corpus.exporters.nemo import export_nemo
from semtok.corpus.exporters.slamkit import export_slamkit
from semtok.corpus.exporters.webdataset import export_webdataset
from semtok.corpus.reading import join, read
from semtok.errors import CorpusError

EXPORTERS: dict[str, Callable[..., list[Path]]] = {
    "dasb": export_dasb,
    "espnet-text": export_espnet_text,
    "espnet-speechlm": export_espnet_speechlm,
    "chat": export_chat,
    "nemo": export_nemo,
    "megatron": export_megatron,
    "km": export_km,
    "lhotse": export_lhotse,
    "slamkit": export_slamkit,
    "webdataset": export_webdataset,
    "kaldi": export_kaldi,
}
"""Each takes a `TokenCorpus`, a folder, and options by their names."""


def export(
    folder: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    form: str,
    target: str | os.PathLike[str],
    *,
    layers: Sequence[Layer] | None = None,
    **options: Any,
) -> list[Path]:
    """Writes a finished corpus, or several as one, in another format.

    Args:
        folder: of the corpus, or a list of the folders of several with the tokens of one tokenizer. Of their columns
            those are taken that all have.
        form: one of `EXPORTERS`; each says what it writes.
        target: a new folder.
        layers: these alone, in this order; all by default.
        options: of the format, such as the `instructions` of `chat`; those that are None are left to the format.

    Returns:
        What was written.

    Raises:
        CorpusError: a format that there is not, or that cannot hold this corpus; an option that the format does not
            have; a target that has something in it; corpora of several tokenizers or layers, or with ids in common; or
            as `read`.
    """
    if form not in EXPORTERS:
        raise CorpusError(f"there is no format {form!r}, only {', '.join(EXPORTERS)}")
    given = {name: value for name, value in options.items() if value is not None}
    known = list(inspect.signature(EXPORTERS[form]).parameters)[2:]
    if wrong := [name for name in given if name not in known]:
        raise CorpusError(f"{form} takes no {', '.join(wrong)}, only {', '.join(known) or 'layers'}")
    folders = [folder] if isinstance(folder, (str, os.PathLike)) else folder
    corpus = join([read(one, layers=layers) for one in folders])
    if len(folders) > 1:
        check_keys(corpus, "an export of several corpora", str)
    return EXPORTERS[form](corpus, Path(target), **given)
