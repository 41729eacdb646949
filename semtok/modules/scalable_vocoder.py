"""Scalable vocoder: layer selector and generator in one network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor, nn

from semtok.config import GeneratorConfig
from semtok.modules.generator import HiFiGAN, ISTFTGenerator
from semtok.modules.selector import LayerSelector


class ScalableVocoder(nn.Module):
    """Codes of any subset of layers -> waveform (Mousavi et al., 2024, section 2.3).

    Args:
        codebook_sizes: of each layer.
        embedding_dim: of the embedding tables and the generator's input.
        attention_dim: hidden size of the attention over layers.
        generator: which generator and its sizes.
        absent_embedding: whether one learned embedding stands for each absent layer (SpeechBrain's vocoders).
    """

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        *,
        embedding_dim: int,
        attention_dim: int,
        generator: GeneratorConfig,
        absent_embedding: bool = False,
    ) -> None:
        super().__init__()
        self.selector = LayerSelector(codebook_sizes, embedding_dim, attention_dim, absent_embedding=absent_embedding)
        self.generator: HiFiGAN | ISTFTGenerator
        if generator.hifigan is not None:
            self.generator = HiFiGAN(embedding_dim, **dataclasses.asdict(generator.hifigan))
        else:
            assert generator.istft is not None
            self.generator = ISTFTGenerator(embedding_dim, **dataclasses.asdict(generator.istft))

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        return self.generator.hop_length

    def forward(self, codes: Tensor, positions: Sequence[int] | None = None, present: Tensor | None = None) -> Tensor:
        """Arguments as of `LayerSelector.forward` -> waveform [batch, frames x hop_length]."""
        fused, _ = self.selector(codes, positions, present)
        waveform: Tensor = self.generator(fused)
        return waveform
