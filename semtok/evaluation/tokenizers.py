"""What is measured: anything that makes `Tokens` of speech, and anything that makes speech of them.

`Tokenizer` and `Vocoder` do, and so does `Codec` in `semtok.evaluation.codecs`, by which tokenizers of others stand
beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer
from semtok.tokens import Tokens


class SpeechTokenizer(Protocol):
    """Speech -> tokens; the members are those of `Tokenizer`."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def hop_length(self) -> int: ...
    @property
    def frame_rate(self) -> float: ...
    @property
    def codebooks(self) -> Codebooks: ...
    @property
    def fingerprint(self) -> str: ...

    def encode(
        self, audio: Any, *, sample_rate: int | None = None, layers: Sequence[Layer] | None = None
    ) -> Tokens: ...


class SpeechDecoder(Protocol):
    """Tokens -> speech; the members are those of `Vocoder`."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def layers(self) -> tuple[Layer, ...]: ...

    def speaker(self, audio: Any, *, sample_rate: int | None = None) -> Tensor: ...
    def decode(
        self, tokens: Tokens, *, layers: Sequence[Layer] | None = None, speaker: Tensor | None = None
    ) -> Tensor: ...
