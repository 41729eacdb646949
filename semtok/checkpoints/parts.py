"""What a reader finds in a repository, whatever its layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from semtok.checkpoints.config import TokenizerConfig
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.tensors import load_network
from semtok.codebooks.layers import Layer
from semtok.networks.config import VocoderConfig

if TYPE_CHECKING:
    from semtok.networks.scalable_vocoder import ScalableVocoder


@dataclass(frozen=True)
class TokenizerParts:
    """What a tokenizer is made of: its config, the encoder's repository, float32 centroids of the layers asked for.

    The config names all layers that the repository has codebooks of, the centroids are by layer in the order asked for,
    each with its residual stages. The weights of the encoder are not read yet.
    """

    config: TokenizerConfig
    encoder: Repository
    centroids: dict[Layer, list[Tensor]]


@dataclass(frozen=True)
class VocoderParts:
    """What a vocoder is made of: its config, and the weights of the network that the config describes."""

    config: VocoderConfig
    weights: dict[str, Tensor]

    def network(self, name: str) -> ScalableVocoder:
        """The network with its weights.

        Raises:
            CheckpointError: the weights do not fit the config; `name` is that of the repository.
        """
        from semtok.networks.scalable_vocoder import ScalableVocoder

        return load_network(lambda: ScalableVocoder(self.config), self.weights, name)
