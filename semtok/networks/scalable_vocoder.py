"""Scalable vocoder: layer selector and generator in one network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from semtok.networks.config import VocoderConfig
from semtok.networks.selector import LayerSelector
from semtok.networks.speaker import SpeakerConditioning, SpeakerEncoder


class ScalableVocoder(nn.Module):
    """Codes of any subset of layers -> waveform (Mousavi et al., 2024, section 2.3).

    Args:
        config: sizes of the network, which starts with random weights.
    """

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.codebooks = config.codebooks
        self.selector = LayerSelector(
            config.codebooks, config.embedding_dim, config.attention_dim, absent_embedding=config.absent_embedding
        )
        self.generator = config.generator.build(config.embedding_dim)
        speaker = config.speaker
        self.speaker = SpeakerConditioning(speaker.dim, config.embedding_dim) if speaker else None
        self.speaker_encoder: SpeakerEncoder | None = None
        if speaker and speaker.channels:
            self.speaker_encoder = SpeakerEncoder(
                speaker.dim, channels=speaker.channels, sample_rate=config.sample_rate
            )

    @property
    def hop_length(self) -> int:
        """Samples of one frame."""
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
            reference: waveforms [batch, samples] of the speakers, in place of embeddings; zeros for no speaker.
        """
        fused, _ = self.selector(codes, positions, present)
        if reference is not None:
            assert self.speaker_encoder is not None
            speaker = self.speaker_encoder(reference)
        if self.speaker is not None:
            fused = self.speaker(fused, speaker)
        waveform: Tensor = self.generator(fused)
        return waveform
