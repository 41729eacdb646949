"""How well two labellings of the same frames agree, from their contingency table: phones [labels] against codes.

Everything takes `counts` [labels, codes]: frames of each label that have each code. The measures grow with the number
of codes, so compare them at one codebook size. Source: Hsu et al., "HuBERT", 2021, section III.
"""

from __future__ import annotations

import numpy as np

from semtok.support.arrays import Integers


def contingency(labels: Integers, codes: Integers, num_labels: int, num_codes: int) -> Integers:
    """Counts [num_labels, num_codes] of labels and codes [frames]."""
    counts = np.bincount(labels * num_codes + codes, minlength=num_labels * num_codes)
    return counts.reshape(num_labels, num_codes).astype(np.int64)


def phone_purity(counts: Integers) -> float:
    """Accuracy of naming each frame by the main label of its code, 0 to 1; NaN without frames."""
    return _share(counts.max(axis=0).sum(), counts)


def cluster_purity(counts: Integers) -> float:
    """Share of the frames that have the main code of their label, 0 to 1; NaN without frames."""
    return _share(counts.max(axis=1).sum(), counts)


def mutual_information(counts: Integers) -> float:
    """Of label and code, in nats: the plug-in estimate, too high by about `mutual_information_bias`."""
    return entropy(counts.sum(axis=1)) + entropy(counts.sum(axis=0)) - entropy(counts)


def mutual_information_bias(counts: Integers) -> float:
    """By how much the finite number of frames raises it, in nats, from the number of cells that are not empty.

    Source: Miller, "Note on the bias of information estimates", 1955, for each of the three entropies.
    """
    cells, rows, columns = map(np.count_nonzero, (counts, counts.sum(axis=1), counts.sum(axis=0)))
    return float((cells - rows - columns + 1) / max(2 * counts.sum(), 1))


def entropy(counts: Integers) -> float:
    """Of the shares of counts of any shape, in nats."""
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum())


def _share(frames: np.int64, counts: Integers) -> float:
    return _ratio(float(frames), float(counts.sum()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
