"""How many tokens change when the recording does, in ways that should not matter.

The unit edit distance of StableToken (2509.22220) and the axes of STAB (Vashishth et al., 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from semtok.analysis.contingency import Integers
from semtok.tokenizer import Tokenizer

Waveform: TypeAlias = npt.NDArray[np.float32]
Perturbation: TypeAlias = Callable[[Waveform, Tokenizer], Waveform]

_NOISE_DB = 20
_SPEED = 1.1


def _noise(waveform: Waveform, tokenizer: Tokenizer) -> Waveform:
    noise = np.random.default_rng(0).standard_normal(len(waveform), dtype=np.float32)
    level = float(np.sqrt(np.mean(np.square(waveform)))) * 10 ** (-_NOISE_DB / 20)
    noisy: Waveform = waveform + np.float32(level) * noise
    return noisy


def _gain(waveform: Waveform, tokenizer: Tokenizer) -> Waveform:
    quiet: Waveform = waveform * np.float32(0.5)
    return quiet


def _shift(waveform: Waveform, tokenizer: Tokenizer) -> Waveform:
    return waveform[tokenizer.hop_length // 2 :]


def _telephone(waveform: Waveform, tokenizer: Tokenizer) -> Waveform:
    import soxr

    narrow = soxr.resample(waveform, tokenizer.sample_rate, 8000)
    wide: Waveform = soxr.resample(narrow, 8000, tokenizer.sample_rate)
    return wide


def _speed(waveform: Waveform, tokenizer: Tokenizer) -> Waveform:
    import soxr

    fast: Waveform = soxr.resample(waveform, tokenizer.sample_rate * _SPEED, tokenizer.sample_rate)
    return fast


PERTURBATIONS: Mapping[str, Perturbation] = {
    "noise": _noise,
    "gain": _gain,
    "shift": _shift,
    "8 kHz": _telephone,
    "speed": _speed,
}
"""White noise at 20 dB, half the amplitude, half a frame later, through 8 kHz, and 10 % faster (and higher)."""


def stability(tokenizer: Tokenizer, waveforms: Sequence[Waveform]) -> dict[str, list[float]]:
    """By perturbation, for each row: edit distance of the codes before and after it, by the number of codes before.

    Of faster speech the runs are compared, as codes are fewer; elsewhere every frame counts.

    Args:
        waveforms: float32 [samples] each at the tokenizer's rate, long enough for two frames.
    """
    edits = {name: np.zeros(len(tokenizer.codebooks.sizes)) for name in PERTURBATIONS}
    totals = {name: np.zeros(len(tokenizer.codebooks.sizes)) for name in PERTURBATIONS}
    for waveform in waveforms:
        versions = [waveform, *(perturb(waveform, tokenizer) for perturb in PERTURBATIONS.values())]
        tokens = tokenizer.encode(versions)
        lengths = tokens.lengths.tolist()
        plain, *changed = (codes[:, :length] for codes, length in zip(tokens.codes.cpu().numpy(), lengths, strict=True))
        for name, codes in zip(PERTURBATIONS, changed, strict=True):
            before, after = list(plain), list(codes)
            if name == "speed":
                before, after = [without_repeats(row) for row in before], [without_repeats(row) for row in after]
            edits[name] += edit_distances(before, after)
            totals[name] += [len(row) for row in before]
    return {name: (edits[name] / totals[name]).tolist() for name in PERTURBATIONS}


def without_repeats(codes: Integers) -> Integers:
    """The code of each run."""
    changes: Integers = codes[np.append(True, codes[1:] != codes[:-1])]
    return changes


def edit_distances(references: Sequence[Integers], hypotheses: Sequence[Integers]) -> Integers:
    """Least number of codes to substitute, insert or delete (Levenshtein, 1966), for each pair: int64 [pairs]."""
    one, other = _padded(references, -1), _padded(hypotheses, -2)
    columns = np.arange(other.shape[1] + 1)
    distances = np.tile(columns, (len(one), 1))
    ends = np.array([len(row) for row in hypotheses])
    results = np.where([len(row) == 0 for row in references], ends, 0)
    for step in range(one.shape[1]):
        substituted = distances[:, :-1] + (one[:, step, None] != other)
        distances[:, 0] += 1
        distances[:, 1:] = np.minimum(substituted, distances[:, 1:] + 1)
        # an insertion costs one more than the place before, so that the least of all before counts
        distances = np.minimum.accumulate(distances - columns, axis=1) + columns
        for number, reference in enumerate(references):
            if len(reference) == step + 1:
                results[number] = distances[number, ends[number]]
    return results


def _padded(rows: Sequence[Integers], value: int) -> Integers:
    padded = np.full((len(rows), max(map(len, rows))), value, np.int64)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
