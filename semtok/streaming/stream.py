"""The base of streams of speech and of tokens, and how tokens from a stream are joined."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from semtok.errors import SemtokError, TokensError
from semtok.tokens import Tokens

if TYPE_CHECKING:
    from typing_extensions import Self


class Stream(ABC):
    """A stream is open until `close` is called or its `with` block ends."""

    _open = True

    def close(self) -> None:
        """Ends the stream without an answer, and frees its memory."""
        self._open = False
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _forget(self) -> None:
        """Frees the memory of the stream."""

    def _check_open(self, error: type[SemtokError]) -> None:
        if not self._open:
            raise error("this stream has ended: open another one for what comes next")


def join_tokens(pieces: Sequence[Tokens]) -> Tokens:
    """The answers of one stream, push after push, as one utterance.

    Raises:
        TokensError: nothing to join, pieces of several utterances, or of different tokenizers or layers.
    """
    # `cat` refuses tokens of different tokenizers or layers.
    batch = Tokens.cat(pieces)
    if len(batch) != len(pieces):
        raise TokensError(f"join_tokens joins pieces of one utterance each, got {[len(piece) for piece in pieces]}")
    codes = torch.cat([piece.codes[0, :, : int(piece.lengths)] for piece in pieces], dim=1)
    return Tokens.of([codes], batch.codebooks, batch.frame_rate, batch.fingerprint)
