"""How many bits the codes of one codebook tell of a label, counted over frames.

Plug-in estimates are too high by a bias, which is given beside them; held-out estimates are lower bounds. Everything is
in bits. Codes and labels are integers [frames] from 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semtok.analysis.contingency import (
    cluster_purity,
    contingency,
    entropy,
    mutual_information,
    mutual_information_bias,
    phone_purity,
)
from semtok.support.arrays import Integers

_BIT = math.log(2)
# Of the labels' frequencies, in frames; the largest says that a code tells nothing.
_WEIGHTS = np.logspace(-1, 7, 25)


@dataclass(frozen=True)
class Information:
    """What codes tell of a label.

    Args:
        entropy: bits of the label.
        bits: mutual information of label and code, the plug-in estimate.
        bias: by how many bits the finite number of frames raises it (Miller, 1955).
        held_out: bits by which codes shorten the label in clips that were not counted, a lower bound.
        normalized: `bits` by `entropy`; of phones this is PNMI (Hsu et al., "HuBERT", 2021).
        purity: accuracy of naming each frame by the main label of its code.
        cluster_purity: share of the frames that have the main code of their label.
    """

    entropy: float
    bits: float
    bias: float
    held_out: float
    normalized: float
    purity: float
    cluster_purity: float


def information(labels: Integers, codes: Integers, groups: Integers) -> Information:
    """What codes tell of labels, all [frames]; frames of one of `groups`, such as a clip, are held out together.

    Needs at least two labels. Counting half of the groups and predicting the other gives `held_out`, both ways.
    """
    counts = _count(labels, codes)
    label_entropy = entropy(counts.sum(axis=1)) / _BIT
    bits = mutual_information(counts) / _BIT
    return Information(
        label_entropy,
        bits,
        mutual_information_bias(counts) / _BIT,
        held_out_information(labels, codes, groups),
        bits / label_entropy if label_entropy else math.nan,
        phone_purity(counts),
        cluster_purity(counts),
    )


def conditional_information(labels: Integers, codes: Integers, given: Integers) -> tuple[float, float]:
    """I(label; code | given), e.g. of speakers given the phone, and its bias, averaged over the values of `given`."""
    bits = bias = 0.0
    order = np.argsort(given, kind="stable")
    for frames in np.split(order, np.flatnonzero(np.diff(given[order])) + 1):
        counts = _count(*(np.unique(part[frames], return_inverse=True)[1] for part in (labels, codes)))
        share = len(frames) / len(labels)
        bits += share * mutual_information(counts) / _BIT
        bias += share * mutual_information_bias(counts) / _BIT
    return bits, bias


def held_out_information(labels: Integers, codes: Integers, groups: Integers) -> float:
    """Bits by which the code shortens the label of a frame whose group was not counted; NaN with fewer than 4 groups.

    Each half of the groups is predicted by the counts of the other. A code falls back on the frequencies of the labels
    as far as it is rare, by the weight with which the quarters of that half predict each other best; these frequencies
    alone are what its bits are compared with.
    """
    half = halves(groups)
    gains = []
    for counted, predicted in ((half, ~half), (~half, half)):
        quarter = halves(groups[counted])
        if not predicted.any() or quarter.all() or not quarter.any():
            return math.nan
        of_labels, of_codes = labels[counted], codes[counted]
        one, other = ((of_labels[part], of_codes[part]) for part in (quarter, ~quarter))
        weight = max(_WEIGHTS, key=lambda w: _gains(*one, *other, w).sum() + _gains(*other, *one, w).sum())
        gains.append(_gains(of_labels, of_codes, labels[predicted], codes[predicted], weight))
    return float(np.concatenate(gains).mean())


def _gains(
    counted_labels: Integers, counted_codes: Integers, labels: Integers, codes: Integers, weight: float
) -> npt.NDArray[np.float64]:
    """Bits by which counts shorten the label of each of other frames, given its code. Unseen labels count as one."""
    num_labels, num_codes = (
        int(max(one.max(), two.max())) + 1 for one, two in ((counted_labels, labels), (counted_codes, codes))
    )
    counts = contingency(counted_labels, counted_codes, num_labels, num_codes)
    frequencies = counts.sum(axis=1) + 1.0
    prior = frequencies / frequencies.sum()
    shares = (counts[labels, codes] + weight * prior[labels]) / (counts.sum(axis=0)[codes] + weight)
    gains: npt.NDArray[np.float64] = np.log2(shares / prior[labels])
    return gains


def halves(groups: Integers) -> npt.NDArray[np.bool_]:
    """One half of the groups, drawn at random, always in the same way: which of the frames are in it."""
    names, numbers = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(names))
    chosen: npt.NDArray[np.bool_] = (order < len(names) / 2)[numbers]
    return chosen


def _count(labels: Integers, codes: Integers) -> Integers:
    return contingency(labels, codes, int(labels.max()) + 1, int(codes.max()) + 1)
