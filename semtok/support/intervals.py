"""How sure a figure is: intervals of rates and means over clips, and tests of two models on the same clips.

All of it takes clips to be drawn independently. Clips of a few speakers are less than that, so their intervals are
rather too narrow. Nothing here knows of other seeds: a deviation over seeds tells of the training, not of the clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from semtok.errors import SemtokError

Numbers: TypeAlias = Sequence[float] | npt.NDArray[np.float64]

CONFIDENCE = 0.95
_DRAWS = 2000


class Interval(NamedTuple):
    """Where a figure lies with a confidence of 95 %; both NaN where the clips say nothing of it."""

    low: float
    high: float


class Comparison(NamedTuple):
    """A second model less a first one, on the same clips.

    Args:
        difference: of their figures.
        interval: of the difference.
        p: two-sided, that so large a difference comes by chance.
    """

    difference: float
    interval: Interval
    p: float

    @property
    def significant(self) -> bool:
        """Whether one model may be called better: p < .05."""
        return self.p < 1 - CONFIDENCE


def wilson_interval(errors: float, count: int) -> Interval:
    """Of the share of clips that are wrong, by the score test of a binomial; NaN of no clips.

    Unlike the normal approximation it stays within 0 ... 1 and holds for few clips and for no errors at all.
    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.

    Raises:
        SemtokError: not 0 <= errors <= count.
    """
    if not 0 <= errors <= count:
        raise SemtokError(f"the errors must be in 0 ... {count}, the number of clips, got {errors}")
    if count == 0:
        return Interval(math.nan, math.nan)
    share, z2 = errors / count, NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def bootstrap_interval(values: Numbers, counts: Numbers | None = None, *, draws: int = _DRAWS) -> Interval:
    """Of a mean over clips, or of an error rate over words, from clips that are drawn again.

    The percentiles of Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; of word error rates
    as in Bisani and Ney, "Bootstrap Estimates for Confidence Intervals in ASR Performance Evaluation", 2004. The draws
    are the same each time.

    Args:
        values: [clips], of which the mean is taken; with `counts`, the errors of each clip.
        counts: [clips], words of each clip: the figure is then sum(values) / sum(counts).
        draws: sets of clips.

    Returns:
        The interval; NaN of fewer than two clips.

    Raises:
        SemtokError: `values` and `counts` of different lengths, values that are not finite, no counts above 0.
    """
    clips = _clips(values, counts)
    return bootstrap_of(lambda drawn: _figure(clips[drawn]), len(clips), draws=draws)


def bootstrap_of(figure: Callable[[npt.NDArray[np.int64]], float], clips: int, *, draws: int = _DRAWS) -> Interval:
    """Of any figure of a set of clips, such as the mean over classes of their errors, from clips drawn again.

    Args:
        figure: of the clips with these numbers, int64 [clips], some of them several times; NaN where it has none.
        clips: how many there are.
        draws: sets of clips.

    Returns:
        The interval; NaN of fewer than two clips.
    """
    if clips < 2:
        return Interval(math.nan, math.nan)
    return _interval(_draw(figure, clips, draws))


def paired_bootstrap(
    first: Numbers, second: Numbers, counts: Numbers | None = None, *, draws: int = _DRAWS
) -> Comparison:
    """Compares means, or error rates over words, of two models on the same clips.

    Source: Bisani and Ney, 2004, section 5; Koehn, "Statistical Significance Tests for Machine Translation
    Evaluation", 2004.

    Args:
        first, second: [clips], as `values` of `bootstrap_interval`.
        counts: [clips], as there; the words are those of both.
        draws: sets of clips.

    Raises:
        SemtokError: different numbers of clips, or as `bootstrap_interval`.
    """
    if len(first) != len(second):
        raise SemtokError(f"two models are compared on the same clips, got {len(first)} and {len(second)} of them")
    clips = _clips(np.subtract(second, first), counts)
    if len(clips) < 2:
        return Comparison(math.nan, Interval(math.nan, math.nan), 1.0)
    drawn = _draw(lambda chosen: _figure(clips[chosen]), len(clips), draws)
    tail = 1 + min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Comparison(_figure(clips), _interval(drawn), min(1.0, 2 * float(tail) / (len(drawn) + 1)))


def mcnemar(first: Sequence[bool] | npt.NDArray[np.bool_], second: Sequence[bool] | npt.NDArray[np.bool_]) -> float:
    """p, two-sided, of two models that are each right or wrong on the same clips.

    Only clips on which one of them is wrong say anything: were the models equal, each would be wrong on half of these.
    The binomial is exact. Source: McNemar, "Note on the Sampling Error of the Difference Between Correlated
    Proportions", 1947.

    Args:
        first, second: [clips], whether the model is wrong.

    Raises:
        SemtokError: different numbers of clips.
    """
    if len(first) != len(second):
        raise SemtokError(f"two models are compared on the same clips, got {len(first)} and {len(second)} of them")
    wrong, other = np.asarray(first, bool), np.asarray(second, bool)
    fewer, more = sorted((int((wrong & ~other).sum()), int((other & ~wrong).sum())))
    term = total = 1
    for k in range(1, fewer + 1):
        term = term * (fewer + more - k + 1) // k
        total += term
    return min(1.0, float(2 * total / 2 ** (fewer + more)))


def _clips(values: Numbers, counts: Numbers | None) -> npt.NDArray[np.float64]:
    """Numerators and denominators, [clips, 2]."""
    numerators = np.asarray(values, np.float64)
    denominators = np.ones_like(numerators) if counts is None else np.asarray(counts, np.float64)
    if numerators.ndim != 1 or numerators.shape != denominators.shape:
        raise SemtokError(f"one value and one count a clip are needed, got {numerators.shape}, {denominators.shape}")
    clips = np.stack([numerators, denominators], axis=1)
    if not np.isfinite(clips).all():
        raise SemtokError("leave out the clips whose value is not finite: they have no figure to draw from")
    if len(clips) and denominators.sum() <= 0:
        raise SemtokError("the counts of all clips are 0: there is nothing to have errors in")
    return clips


def _figure(clips: npt.NDArray[np.float64]) -> float:
    numerator, denominator = clips.sum(axis=0)
    return float(numerator / denominator) if denominator else math.nan


def _draw(figure: Callable[[npt.NDArray[np.int64]], float], clips: int, draws: int) -> npt.NDArray[np.float64]:
    """The figure of each set of clips that has one, [draws]."""
    generator = np.random.default_rng(0)
    drawn = np.array([figure(generator.integers(clips, size=clips)) for _ in range(draws)])
    defined: npt.NDArray[np.float64] = drawn[~np.isnan(drawn)]
    return defined


def _interval(drawn: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
