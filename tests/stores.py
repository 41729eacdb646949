"""Stores of arrays that are given, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semtok.errors import AudioError
from semtok.speech.clip import Clip
from semtok.speech.store import Copies, Form, Part, Store, open_store
from semtok.training.data.corpus import Corpus


class Given:
    """A maker of arrays of given clips, called by the numbers of the clips in place of their waveforms."""

    identity: Any = "given"

    def __init__(self, arrays: Mapping[str, Sequence[np.ndarray]]) -> None:
        self._arrays = arrays

    @property
    def forms(self) -> Mapping[str, Form]:
        return {name: Form(clips[0].dtype, clips[0].shape[1:]) for name, clips in self._arrays.items()}

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        for place, waveform in enumerate(waveforms):
            yield place, [{name: clips[int(waveform)] for name, clips in self._arrays.items()}]


def store_of(folder: Path, **arrays: Sequence[np.ndarray]) -> Store:
    """A store of arrays by name, each with one for every clip."""
    clips = [Clip(str(number), f"{number}.wav") for number in range(len(next(iter(arrays.values()))))]
    part = Part(0, lambda: ((clip, torch.tensor([number])) for number, clip in enumerate(clips)), clips)
    return open_store([part], Given(arrays), folder)


def corpus_of(folder: Path, clips: Sequence[np.ndarray]) -> Corpus:
    """A corpus of clips of samples, int16 each."""
    return Corpus(store_of(folder, samples=clips))
