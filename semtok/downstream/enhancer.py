"""Noisy speech -> clean speech: tokens of all layers are predicted anew, and decoded by the vocoder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.io import AudioArray
from semtok.downstream.config import DownstreamConfig
from semtok.downstream.conformer import Conformer, ConformerConfig
from semtok.downstream.model import DownstreamModel, Head, Speech
from semtok.tokens import Tokens
from semtok.vocoder import Vocoder


@dataclass(frozen=True)
class EnhancerConfig:
    """Sizes of the Conformer."""

    conformer: ConformerConfig


class RowOutputs(nn.Module):
    """Vectors [batch, frames, dim] -> for each row the scores [batch, frames, codebook_size] of its codes."""

    def __init__(self, dim: int, codebook_sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(codebook_sizes)
        self.output = nn.Linear(dim, sum(codebook_sizes))

    def forward(self, x: Tensor) -> Tensor:
        """All rows' scores beside each other, [batch, frames, sum of the codebook sizes]."""
        scores: Tensor = self.output(x)
        return scores

    def codes(self, scores: Tensor) -> Tensor:
        """The likeliest code of each row: scores [..., sum of sizes] -> int64 [..., rows]."""
        return torch.stack([row.argmax(dim=-1) for row in scores.split(self.sizes, dim=-1)], dim=-1)


class EnhancerHead(Head):
    """Fused vectors of noisy speech -> scores of the clean codes [batch, frames, sum of the codebook sizes]."""

    frames_per_step = 1

    def __init__(self, config: EnhancerConfig, dim: int, codebook_sizes: Sequence[int]) -> None:
        super().__init__()
        self.input = nn.Linear(dim, config.conformer.dim)
        self.conformer = Conformer(config.conformer)
        self.rows = RowOutputs(config.conformer.dim, codebook_sizes)

    def forward(self, fused: Tensor, lengths: Tensor) -> Tensor:
        scores: Tensor = self.rows(self.conformer(self.input(fused), lengths))
        return scores


class TokenGenerator(DownstreamModel):
    """A model that makes tokens, which the vocoder of its tokenizer decodes."""

    @functools.cached_property
    def vocoder(self) -> Vocoder:
        """That of the checkpoint that the tokenizer is of, loaded when first needed; another may be set in its place.

        Raises:
            CheckpointError: the checkpoint has no vocoder.
        """
        return Vocoder.from_pretrained(self.config.tokenizer, device=self.device)

    def _tokens(self, codes: Sequence[Tensor]) -> Tokens:
        """Tokens of utterances with these codes, int64 [frames, rows] each."""
        padded = pad_sequence(list(codes), batch_first=True, padding_value=-1).transpose(1, 2).contiguous()
        frames = torch.tensor([len(clip) for clip in codes], device=padded.device)
        books = self.codebooks
        return Tokens(padded, frames, books.layers, self.frame_rate, books.sizes, self.fingerprint, books.stages)


class SpeechEnhancer(TokenGenerator):
    """Takes noise out of speech. What the vocoder cannot keep of a voice is lost with the noise."""

    task = "enhance"
    Config = EnhancerConfig
    head_config: EnhancerConfig

    @classmethod
    def build_head(cls, config: DownstreamConfig) -> EnhancerHead:
        return EnhancerHead(cls.read_head_config(config), config.front.dim, config.codebooks.sizes)

    def enhance(
        self,
        audio: Speech,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> Tensor:
        """Noisy speech -> clean speech: float32 [batch, frames x hop_length], zero past each clip's frames.

        Arguments and errors as of `Tokenizer.encode`; tokens that are not this model's are a `TokensError`.
        """
        return self.vocoder.decode(self.enhance_tokens(audio, sample_rate=sample_rate, lengths=lengths))

    def enhance_tokens(
        self,
        audio: Speech,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> Tokens:
        """The tokens that `enhance` decodes."""
        head = self.network.head
        assert isinstance(head, EnhancerHead)
        return self._tokens([head.rows.codes(scores) for scores in self._outputs(audio, sample_rate, lengths)])
