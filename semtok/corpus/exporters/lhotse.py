"""Lhotse Shar: cuts with an array `target_codes`, [rows, frames]."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semtok.corpus.exporters.exporter import check_ids, codes_of, leads_out, new_folder
from semtok.corpus.reading import TokenClip, TokenCorpus
from semtok.errors import CorpusError, needs_extra

if TYPE_CHECKING:
    from lhotse import MonoCut

_SUPERVISION = ("text", "speaker", "language")
_CUTS_A_SHARD = 1000


def export_lhotse(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes cuts without audio; `text`, `speaker` and `language` are in a supervision, other columns in `custom`.

    Returns:
        What was written.

    Raises:
        CorpusError: ids that lead out of a folder, as the archives' files are named by them; a folder that has
            something in it, or a percent sign in its path, which lhotse takes for the place of a number.
    """
    with write_shar(corpus, folder, "target_codes") as write:
        for clip in corpus:
            known = {name: clip.columns.get(name) for name in _SUPERVISION}
            others = {name: value for name, value in clip.columns.items() if name not in _SUPERVISION}
            write(with_codes(to_cut(clip, corpus, known, others), corpus, target_codes=clip))
    return sorted(folder.iterdir())


def to_cut(
    clip: TokenClip, corpus: TokenCorpus, supervision: dict[str, Any], custom: dict[str, Any], **details: Any
) -> MonoCut:
    """A cut of a clip; what is known goes into its supervision, with `details` as custom fields of that."""
    from lhotse import MonoCut, SupervisionSegment

    known = {name: str(value) for name, value in supervision.items() if value is not None}
    segment = SupervisionSegment(clip.id, clip.id, start=0.0, duration=clip.duration, custom=details or None, **known)
    facts = {"path": clip.path, "path_start": clip.start, "fingerprint": corpus.run.fingerprint}
    return MonoCut(
        clip.id,
        start=0.0,
        duration=clip.duration,
        channel=0,
        supervisions=[segment] if known else [],
        custom={**custom, **facts},
    )


def with_codes(cut: MonoCut, corpus: TokenCorpus, **fields: TokenClip) -> MonoCut:
    """A cut with the codes of clips, int32 [rows, frames] each, in the fields of these names."""
    for name, clip in fields.items():
        codes = codes_of(clip).astype(np.int32)
        cut = cut.attach_tensor(name, codes, frame_shift=1 / corpus.run.frame_rate, temporal_dim=1)
    return cut


@contextmanager
def write_shar(corpus: TokenCorpus, folder: Path, *fields: str) -> Iterator[Callable[[MonoCut], None]]:
    """Gives a function that adds a cut to a Shar with these fields of codes; errors as in `export_lhotse`."""
    with needs_extra("export"):
        from lhotse.shar import SharWriter

    check_ids(corpus, "names of files in lhotse's archives stay in their folder", lambda name: not leads_out(name))
    if "%" in str(folder):
        raise CorpusError(f"lhotse writes to no path with a percent sign, such as {folder}: give another")
    kinds = dict.fromkeys(fields, "numpy")
    with new_folder(folder) as aside, SharWriter(str(aside), fields=kinds, shard_size=_CUTS_A_SHARD) as writer:
        yield writer.write
