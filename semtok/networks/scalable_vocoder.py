"""Scalable vocoder: layer selector and generator in one network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from semtok.codebooks.codebooks import Codebooks
from semtok.networks.config import SpeakerConfig, VocoderConfig
from semtok.networks.generators import GeneratorConfig
from semtok.networks.selector import LayerSelector
from semtok.networks.speaker import SpeakerConditioning, SpeakerEncoder


class ScalableVocoder(nn.Module):
    """Codes of any subset of layers -> waveform (Mousavi et al., 2024, section 2.3).

    Args:
        codebooks: of which layers it takes codes.
        embedding_dim: of the embedding tables and the generator's input.
        attention_dim: hidden size of the attention over layers.
        generator: which generator and its sizes.
        absent_embedding: whether one learned embedding stands for each absent layer (SpeechBrain's vocoders).
        speaker: whether it can be told whose voice, and has an encoder of voices.
        sample_rate: Hz of what the encoder of voices hears.
    """

    def __init__(
        self,
        codebooks: Codebooks,
        *,
        embedding_dim: int,
        attention_dim: int,
        generator: GeneratorConfig,
        absent_embedding: bool = False,
        speaker: SpeakerConfig | None = None,
        sample_rate: int = 16000,
    ) -> None:
        super().__init__()
        self.selector = LayerSelector(codebooks, embedding_dim, attention_dim, absent_embedding=absent_embedding)
        self.codebooks = codebooks
        self.generator = generator.build(embedding_dim)
        self.speaker = SpeakerConditioning(speaker.dim, embedding_dim) if speaker else None
        self.speaker_encoder: SpeakerEncoder | None = None
        if speaker and speaker.channels:
            self.speaker_encoder = SpeakerEncoder(speaker.dim, channels=speaker.channels, sample_rate=sample_rate)

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        return self.generator.hop_length

    def forward(
        self,
        codes: Tensor,
        positions: Sequence[int] | None = None,
        present: Tensor | None = None,
        *,
        speaker: Tensor | None = None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """Codes -> waveform [batch, frames x hop_length].

        Args:
            codes, positions, present: as in `LayerSelector.forward`.
            speaker: embeddings [batch, dim], zeros for no speaker; none by default.
            reference: instead of embeddings, waveforms [batch, samples] of the speakers, zeros for none.
        """
        fused, _ = self.selector(codes, positions, present)
        if reference is not None:
            assert self.speaker_encoder is not None
            speaker = self.speaker_encoder(reference)
        if self.speaker is not None:
            fused = self.speaker(fused, speaker)
        waveform: Tensor = self.generator(fused)
        return waveform


def build_network(config: VocoderConfig) -> ScalableVocoder:
    """The network that a config describes, with random weights."""
    return ScalableVocoder(
        config.codebooks,
        embedding_dim=config.embedding_dim,
        attention_dim=config.attention_dim,
        generator=config.generator,
        absent_embedding=config.absent_embedding,
        speaker=config.speaker,
        sample_rate=config.sample_rate,
    )
