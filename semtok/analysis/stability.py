"""How many units change when the recording does, in ways that should not matter.

The unit edit distance of Gat et al. (2209.15483) and StableToken (2509.22220), and the axes of STAB (Vashishth et al.,
2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from semtok.audio.disturbances import Waveform, add_noise, babble, colored_noise, narrow_band, opus, reverberate
from semtok.evaluation.tokenizers import SpeechTokenizer
from semtok.support.arrays import Integers

_LEVELS = (20, 15, 10, 5)
_MOST_VOICES = 6
_ROOM_SECONDS = 0.35
_DIRECT_TO_REVERBERANT = 0.0
_OPUS_KILOBITS = 16
_GAIN = np.float32(0.5)
_SPEED = 1.1


@dataclass(frozen=True)
class Scene:
    """Around a recording: voices of other clips, float32 [samples] each, and what is drawn."""

    others: Sequence[Waveform]
    sample_rate: int
    hop_length: int
    generator: np.random.Generator


Condition: TypeAlias = Callable[[Waveform, Scene], Waveform]


def _white(samples: int, scene: Scene) -> Waveform:
    return colored_noise(samples, 0.0, scene.generator)


def _pink(samples: int, scene: Scene) -> Waveform:
    return colored_noise(samples, 0.5, scene.generator)


def _babble(samples: int, scene: Scene) -> Waveform:
    voices = scene.generator.permutation(len(scene.others))[:_MOST_VOICES]
    return babble([scene.others[voice] for voice in voices], samples, scene.generator)


def _noisy(noise: Callable[[int, Scene], Waveform], snr: float, speech: Waveform, scene: Scene) -> Waveform:
    return add_noise(speech, noise(len(speech), scene), snr, scene.generator)


def _room(speech: Waveform, scene: Scene) -> Waveform:
    return reverberate(speech, _ROOM_SECONDS, _DIRECT_TO_REVERBERANT, scene.sample_rate, scene.generator)


def _narrow(speech: Waveform, scene: Scene) -> Waveform:
    return narrow_band(speech, scene.sample_rate)


def _opus(speech: Waveform, scene: Scene) -> Waveform:
    return opus(speech, _OPUS_KILOBITS, scene.sample_rate)


def _gain(speech: Waveform, scene: Scene) -> Waveform:
    return speech * _GAIN


def _shift(speech: Waveform, scene: Scene) -> Waveform:
    return speech[scene.hop_length // 2 :]


def _speed(speech: Waveform, scene: Scene) -> Waveform:
    import soxr

    fast: Waveform = soxr.resample(speech, scene.sample_rate * _SPEED, scene.sample_rate)
    return fast


CONDITIONS: Mapping[str, Condition] = {
    **{
        f"{name} {snr} dB": partial(_noisy, noise, snr)
        for name, noise in {"white": _white, "pink": _pink, "babble": _babble}.items()
        for snr in _LEVELS
    },
    "room": _room,
    "8 kHz": _narrow,
    "opus": _opus,
    "gain": _gain,
    "half a frame": _shift,
    "speed": _speed,
}
"""White and pink noise, and up to six of the other clips at once, so many dB below the speech; a room of .35 s with
as much energy in its tail as in the direct sound; through 8 kHz; Opus at 16 kbit/s; half the amplitude; half a frame
later; 10 % faster (and higher)."""


@dataclass(frozen=True, eq=False)
class Edits:
    """What conditions change, clip by clip.

    Args:
        units: int64 [clips, rows], units of the clean clips.
        edits: by condition, int64 [clips, rows].
    """

    units: Integers
    edits: Mapping[str, Integers]

    def distances(self, condition: str) -> list[float]:
        """The unit edit distance of each row, over all clips."""
        distances: list[float] = (self.edits[condition].sum(axis=0) / self.units.sum(axis=0)).tolist()
        return distances


def stability(
    tokenizer: SpeechTokenizer, waveforms: Sequence[Waveform], conditions: Mapping[str, Condition] = CONDITIONS
) -> dict[str, list[float]]:
    """Unit edit distance of each row under each condition: edits by units of the clean clips, over all of them.

    Arguments as of `count_edits`.
    """
    counted = count_edits(tokenizer, waveforms, conditions)
    return {name: counted.distances(name) for name in counted.edits}


def count_edits(
    tokenizer: SpeechTokenizer, waveforms: Sequence[Waveform], conditions: Mapping[str, Condition] = CONDITIONS
) -> Edits:
    """Units of the clean clips, and how many of them each condition changes.

    Units are the codes without repeats, so that clips of another length compare as well. The same waveforms give the
    same edits. Babble, which is made of the other waveforms, is left out where there is one alone.

    Args:
        waveforms: float32 [samples] each at the tokenizer's rate, long enough for two frames.
    """
    if len(waveforms) == 1:
        conditions = {name: condition for name, condition in conditions.items() if not name.startswith("babble")}
    edits: dict[str, list[Integers]] = {name: [] for name in conditions}
    counts = []
    for number, waveform in enumerate(waveforms):
        others = [*waveforms[:number], *waveforms[number + 1 :]]
        versions = [waveform]
        for place, condition in enumerate(conditions.values()):
            generator = np.random.default_rng((number, place))
            versions.append(condition(waveform, Scene(others, tokenizer.sample_rate, tokenizer.hop_length, generator)))
        tokens = tokenizer.encode(versions)
        clean, *changed = (
            [without_repeats(row) for row in codes[:, :length]]
            for codes, length in zip(tokens.codes.cpu().numpy(), tokens.lengths.tolist(), strict=True)
        )
        counts.append([len(row) for row in clean])
        for name, units in zip(conditions, changed, strict=True):
            edits[name].append(edit_distances(clean, units))
    return Edits(np.array(counts), {name: np.stack(of_clips) for name, of_clips in edits.items()})


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
