"""Noisy speech -> clean speech: tokens of all layers are predicted anew, and decoded by the vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.audio.io import AudioArray
from semtok.codebooks.codebooks import Codebooks
from semtok.downstream.config import DownstreamConfig
from semtok.downstream.conformer import Conformer, ConformerConfig
from semtok.downstream.model import DownstreamModel, Head, Speech
from semtok.tokens import Tokens


@dataclass(frozen=True)
class EnhancerConfig:
    """Sizes of the Conformer."""

    conformer: ConformerConfig


class CodePredictor(nn.Module):
    """Vectors [..., dim] of frames -> codes of all rows, each layer by itself.

    The stages of a layer come one after the other, as each is about what those before it left over: what stands for a
    code in the scores of its stage is added, mapped, to what the next is predicted from.
    """

    def __init__(self, dim: int, codebooks: Codebooks) -> None:
        super().__init__()
        self.codebooks = codebooks
        self.scores = nn.ModuleList(nn.Linear(dim, size) for size in codebooks.sizes)
        self.condition = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, codes: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Scores [..., codebook_size] of each row, and codes int64 [..., rows].

        With `codes` those are what the next stages are predicted from; else the likeliest are.
        """
        all_scores, chosen = [], []
        for rows in self.codebooks.rows.values():
            known = x
            for row in range(rows.start, rows.stop):
                output = cast(nn.Linear, self.scores[row])
                scores = output(known)
                code = scores.argmax(dim=-1) if codes is None else codes[..., row]
                all_scores.append(scores)
                chosen.append(code)
                if row + 1 < rows.stop:
                    known = known + self.condition(F.embedding(code, output.weight))
        return all_scores, torch.stack(chosen, dim=-1)


class EnhancerHead(Head):
    """Fused vectors of noisy speech -> clean codes int64 [batch, frames, rows]."""

    frames_per_step = 1

    def __init__(self, config: EnhancerConfig, dim: int, codebooks: Codebooks) -> None:
        super().__init__()
        self.input = nn.Linear(dim, config.conformer.dim)
        self.conformer = Conformer(config.conformer)
        self.predict = CodePredictor(config.conformer.dim, codebooks)

    def forward(self, fused: Tensor, lengths: Tensor) -> Tensor:
        codes: Tensor = self.predict(self.vectors(fused, lengths))[1]
        return codes

    def vectors(self, fused: Tensor, lengths: Tensor) -> Tensor:
        """[batch, frames, dim], which `predict` takes."""
        vectors: Tensor = self.conformer(self.input(fused), lengths)
        return vectors


class TokenGenerator(DownstreamModel):
    """A model that makes tokens, which the vocoder of its tokenizer decodes."""

    def _tokens(self, codes: Sequence[Tensor]) -> Tokens:
        """Tokens of utterances with these codes, int64 [frames, rows] each."""
        predictor = self.network.head.predict
        assert isinstance(predictor, CodePredictor)
        return Tokens.of([clip.T for clip in codes], predictor.codebooks, self.frame_rate, self.fingerprint)


class SpeechEnhancer(TokenGenerator):
    """Takes noise out of speech. What the vocoder cannot keep of a voice is lost with the noise."""

    task = "enhance"
    Config = EnhancerConfig
    pipeline = "audio-to-audio"
    example = 'waveform = model.enhance("noisy.wav")'
    head_config: EnhancerConfig

    @classmethod
    def build_head(cls, config: DownstreamConfig) -> EnhancerHead:
        return EnhancerHead(cls.read_head_config(config), config.front.dim, config.codebooks)

    def enhance(
        self,
        audio: Speech,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> Tensor:
        """Noisy speech -> clean speech: float32 [batch, frames x hop_length], zero past each clip's frames.

        Arguments and errors as in `Tokenizer.encode`; tokens that are not this model's are a `TokensError`.
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
        return self._tokens(self._outputs(audio, sample_rate, lengths))
