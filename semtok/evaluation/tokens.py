"""What each row of tokens says of the phones spoken, where alignments are given."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semtok.errors import AudioError
from semtok.evaluation import metrics
from semtok.evaluation.alignments import frame_times, match_alignments, read_alignments
from semtok.evaluation.contingency import contingency
from semtok.evaluation.resynthesis import find_clips

if TYPE_CHECKING:
    from semtok.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenRow:
    """What was measured of a row of codes.

    Args:
        name: "3" for a layer, "1.1" and "1.2" for the stages of a layer that has two.
        codebook_size: codes there are, of which `used` occur.
        scores: of each metric that takes counts of phones and codes.
    """

    name: str
    codebook_size: int
    used: int
    scores: dict[str, float]


@dataclass(frozen=True)
class TokenQuality:
    """Result of `evaluate_tokens`: a row each row of codes, over the frames in which one of `phones` is spoken."""

    fingerprint: str
    clips: int
    frames: int
    phones: tuple[str, ...]
    rows: tuple[TokenRow, ...]
    notes: tuple[str, ...]


def evaluate_tokens(
    tokenizer: Tokenizer,
    audio: str | os.PathLike[str],
    alignments: str | os.PathLike[str],
) -> TokenQuality:
    """Encode the clips of a folder that are aligned, and count which codes go with which phones.

    The phone of a frame is the one at the centre of what the encoder sees of the waveform for it; frames in no phone
    are left out.

    Args:
        tokenizer: used on the device it is on.
        audio: folder, read by `find_clips`.
        alignments: file for `read_alignments`; its paths are relative to `audio` or to where it lies.

    Raises:
        SemtokError: alignments that cannot be read, or that name no clip of the folder.
        AudioError: as `find_clips`; a clip that cannot be read or is too short to encode.
    """
    clips = {clip.path.resolve(): clip.path for clip in find_clips(audio)}
    aligned = match_alignments(read_alignments(alignments), clips, Path(audio), Path(alignments))
    phones = sorted({phone for alignment in aligned.values() for phone in alignment.phones})
    paths = list(aligned)
    counts = [np.zeros((len(phones), size), np.int64) for size in tokenizer.codebooks.sizes]
    for number, tokens in tokenizer.encode_each(paths):
        if isinstance(tokens, AudioError):
            raise tokens
        times = frame_times(tokenizer.encoder.framing, tokens.codes.shape[2])
        labels = aligned[paths[number]].labels(times, phones)
        spoken = labels >= 0
        for table, codes in zip(counts, tokens.codes[0].cpu().numpy(), strict=True):
            table += contingency(labels[spoken], codes[spoken], *table.shape)
    rows = [
        TokenRow(
            name,
            table.shape[1],
            int(table.any(axis=0).sum()),
            {metric: metrics.average([score])[0] for metric, score in metrics.measure({"counts": table}).items()},
        )
        for name, table in zip(tokenizer.codebooks.names, counts, strict=True)
    ]
    missing = len(clips) - len(aligned)
    notes = (f"{missing} of {len(clips)} clips have no alignment and are left out.",) if missing else ()
    return TokenQuality(tokenizer.fingerprint, len(aligned), int(counts[0].sum()), tuple(phones), tuple(rows), notes)
