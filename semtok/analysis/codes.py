"""What the codes of one codebook look like: how many are used, how evenly, and how many bits a second they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semtok.analysis.contingency import entropy
from semtok.support.arrays import Integers


@dataclass(frozen=True)
class CodeStatistics:
    """Statistics of a row of codes.

    Args:
        codebook_size: codes there are.
        used: share of them that occur.
        perplexity: exp of the entropy of the codes: how many equally frequent codes would be as hard to guess.
        mean_run: frames for which a code stays, on the average.
        bitrate: bit/s of the plain codes, frame rate x log2 K.
        run_length_bitrate: bit/s of runs, each a plain code and its length, in as many bits as the longest run needs.
        entropy_bitrate: bit/s after ideal entropy coding of each code by its frequency.
        run_entropy_bitrate: bit/s of runs after ideal entropy coding of their codes and of their lengths.
    """

    codebook_size: int
    used: float
    perplexity: float
    mean_run: float
    bitrate: float
    run_length_bitrate: float
    entropy_bitrate: float
    run_entropy_bitrate: float


def code_statistics(
    codes: Integers, lengths: Sequence[int] | Integers, codebook_size: int, frame_rate: float
) -> CodeStatistics:
    """Statistics of the codes [frames] of clips, one after the other, of these `lengths`; runs end with their clip.

    Raises:
        ValueError: no codes, or lengths that do not add up to them.
    """
    if len(codes) == 0 or sum(lengths) != len(codes):
        raise ValueError(f"expected codes [frames] of clips of lengths {lengths}, got {list(np.shape(codes))}")
    counts = np.bincount(codes, minlength=codebook_size)
    run_codes, run_lengths = runs(codes, lengths)
    runs_a_second = frame_rate * len(run_codes) / len(codes)
    bits = math.log2(codebook_size)
    run_bits = entropy(np.bincount(run_codes)) + entropy(np.bincount(run_lengths))
    return CodeStatistics(
        codebook_size,
        used=float(np.count_nonzero(counts)) / codebook_size,
        perplexity=math.exp(entropy(counts)),
        mean_run=len(codes) / len(run_codes),
        bitrate=frame_rate * bits,
        run_length_bitrate=runs_a_second * (bits + math.ceil(math.log2(run_lengths.max()))),
        entropy_bitrate=frame_rate * entropy(counts) / math.log(2),
        run_entropy_bitrate=runs_a_second * run_bits / math.log(2),
    )


def runs(codes: Integers, lengths: Sequence[int] | Integers) -> tuple[Integers, Integers]:
    """Codes and lengths [runs] of the runs of equal codes; arguments as in `code_statistics`."""
    starts_here = np.ones(len(codes), bool)
    starts_here[1:] = codes[1:] != codes[:-1]
    starts_here[np.cumsum(lengths)[:-1]] = True
    starts = np.flatnonzero(starts_here)
    return codes[starts], np.diff(np.append(starts, len(codes)))
