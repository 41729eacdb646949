"""Makers of what a tokenizer gives for waveforms: codes, or the features that it quantizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from semtok.audio.recordings import open_recordings
from semtok.codebooks.codebooks import code_type
from semtok.codebooks.layers import Layer
from semtok.encoder.batches import Clips, run_each
from semtok.encoder.encoder import Encoder
from semtok.errors import AudioError
from semtok.speech.store import Copies, Form
from semtok.tokenizer import Tokenizer


@dataclass(frozen=True)
class Codes:
    """Makes codes [frames, rows] of waveforms at the rate of a tokenizer, those of `Tokenizer.encode`."""

    tokenizer: Tokenizer

    @property
    def identity(self) -> Any:
        tokenizer = self.tokenizer
        return {"codes": tokenizer.fingerprint, "layers": tokenizer.layers, "dtype": str(tokenizer.dtype)}

    @property
    def forms(self) -> Mapping[str, Form]:
        sizes = self.tokenizer.codebook_sizes
        return {"codes": Form(code_type(max(sizes)), (len(sizes),))}

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        dtype = self.forms["codes"].dtype
        for number, tokens in self.tokenizer.encode_each(waveforms):
            if isinstance(tokens, AudioError):
                yield number, tokens
            else:
                yield number, [{"codes": tokens.codes[0].T.cpu().numpy().astype(dtype)}]


@dataclass(frozen=True)
class Features:
    """Makes features float16 [frames, layers, dim] of waveforms at the rate of an encoder.

    Args:
        encoder: on the device where it is to run.
        layers: of the encoder.
        weights: tell the encoder from others, such as the fingerprint of its tokenizer.
    """

    encoder: Encoder
    layers: tuple[Layer, ...]
    weights: str

    @property
    def identity(self) -> Any:
        dtype = next(self.encoder.parameters()).dtype
        return {"features": self.weights, "layers": self.layers, "dtype": str(dtype)}

    @property
    def forms(self) -> Mapping[str, Form]:
        return {"features": Form(np.dtype(np.float16), (len(self.layers), self.encoder.dim))}

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        rate = self.encoder.sample_rate
        recordings = open_recordings(waveforms, sample_rate=None, target_sample_rate=rate)
        windows = self.encoder.framing.windows()
        for number, features in run_each(Clips(self.encoder, recordings, self.layers, windows)):
            if isinstance(features, AudioError):
                yield number, features
            else:
                yield number, [{"features": features.transpose(0, 1).half().cpu().numpy()}]
