"""Lhotse Shar: cuts with an array `target_codes`, [rows, frames], as NeMo takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semtok.corpus.exporters.exporter import check_ids, leads_out, new_folder
from semtok.corpus.reading import TokenClip, TokenCorpus
from semtok.errors import CorpusError, needs_extra

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
    with needs_extra("export"):
        from lhotse import MonoCut, SupervisionSegment
        from lhotse.shar import SharWriter

    def to_cut(clip: TokenClip) -> MonoCut:
        known = {name: str(clip.columns[name]) for name in _SUPERVISION if clip.columns.get(name) is not None}
        supervision = SupervisionSegment(clip.id, clip.id, start=0.0, duration=clip.duration, **known)
        others = {name: value for name, value in clip.columns.items() if name not in _SUPERVISION}
        cut = MonoCut(
            clip.id,
            start=0.0,
            duration=clip.duration,
            channel=0,
            supervisions=[supervision] if known else [],
            custom={**others, "path": clip.path, "path_start": clip.start, "fingerprint": corpus.run.fingerprint},
        )
        codes = clip.tokens.codes[0].numpy().astype(np.int32)
        return cut.attach_tensor("target_codes", codes, frame_shift=1 / corpus.run.frame_rate, temporal_dim=1)

    check_ids(corpus, "names of files in lhotse's archives stay in their folder", lambda name: not leads_out(name))
    if "%" in str(folder):
        raise CorpusError(f"lhotse writes to no path with a percent sign, such as {folder}: give another")
    with (
        new_folder(folder) as aside,
        SharWriter(str(aside), fields={"target_codes": "numpy"}, shard_size=_CUTS_A_SHARD) as writer,
    ):
        for clip in corpus:
            writer.write(to_cut(clip))
    return sorted(folder.iterdir())
