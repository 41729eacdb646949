"""What the encoder families have in common: how layer 0 comes from waveforms, and what goes into the layers above."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semtok.audio.lengths import Framing
from semtok.encoder.config import EncoderConfig
from semtok.encoder.statistics import RunningStatistics, Statistics


class Projection(nn.Module):
    """Frames of the front end [..., dim before] -> the dim of the layers, behind a norm."""

    def __init__(self, config: EncoderConfig, size: int, *, normalized: bool = True) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps) if normalized else nn.Identity()
        self.projection = nn.Linear(size, config.hidden_size)

    def forward(self, frames: Tensor) -> Tensor:
        output: Tensor = self.projection(self.layer_norm(frames))
        return output


class Stack(nn.Module):
    """The transformer layers."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class SpeechModel(nn.Module, ABC):
    """A self-supervised speech model, whose weights have the names that they have in transformers.

    Wherever a module mixes frames, the frames past a clip's end are reset to what the clip would see there by itself:
    zeros in a convolution, no weight in attention, no share in a statistic.

    Args:
        config: of the family.
    """

    encoder: Stack
    framing: Framing

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        # Serves training only, but a model that is saved and trained on needs it. transformers has it under this rule.
        masked = config.mask_time_prob > 0 or config.mask_feature_prob > 0
        if masked or config.model_type == "unispeech-sat":
            self.masked_spec_embed = nn.Parameter(torch.zeros(config.hidden_size))

    @abstractmethod
    def running_statistics(self, *, normalize: bool, epsilon: float) -> RunningStatistics:
        """Statistics that `embed` needs of a recording, still without any samples; arguments as in `Encoder`."""

    @abstractmethod
    def embed(
        self, waveforms: Tensor, lengths: Sequence[int], valid: Tensor, statistics: Sequence[Statistics]
    ) -> Tensor:
        """Waveforms -> layer 0, [batch, frames, dim].

        Args:
            waveforms: float32 [batch, samples].
            lengths: samples of each clip.
            valid: bool [batch, frames], True for the frames of each clip. Values of other frames are arbitrary.
            statistics: for each clip, of the recording that the clip is, or is a piece of.
        """

    def attention_terms(self, frames: int, mask: Tensor | None) -> tuple[Tensor | None, ...]:
        """What each layer takes beside its input, for its attention.

        Args:
            frames: of the batch, padding included.
            mask: [batch, 1, 1, frames], -inf for padded keys; None, which is faster, if no key is padded.
        """
        return (mask,)
