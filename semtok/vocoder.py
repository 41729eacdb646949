"""`Vocoder`: tokens of any subset of layers -> speech."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from semtok import checkpoint
from semtok.checkpoint import VOCODER
from semtok.config import VocoderConfig
from semtok.errors import CheckpointError
from semtok.hub import resolve
from semtok.modules.scalable_vocoder import ScalableVocoder
from semtok.pretrained import Pretrained, parse_dtype
from semtok.sources import vocoder_parts
from semtok.tokens import Tokens

# Bounds memory where many utterances are given at once.
_BATCH_FRAMES = 6000


class Vocoder(Pretrained):
    """Decodes tokens of its own tokenizer, from any subset of layers (Mousavi et al., 2024, section 2.3).

    Attributes:
        config: what `config.json` says.
        network: `semtok.modules.scalable_vocoder.ScalableVocoder`.
    """

    config: VocoderConfig

    def __init__(self, config: VocoderConfig, network: ScalableVocoder) -> None:
        super().__init__(config, network)
        self.network = network

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> Vocoder:
        """Loads a vocoder; arguments and errors as of `Tokenizer.from_pretrained`.

        Waveforms are float32 whatever the dtype of the network.
        """
        precision = parse_dtype(dtype)
        source = resolve(name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        parts = vocoder_parts(source)
        with torch.device("meta"):  # no random weights are drawn
            network = build_network(parts.config)
        try:
            network.load_state_dict(parts.weights, assign=True)
        except RuntimeError as error:
            raise CheckpointError(f"the weights of {source.name} do not fit its config: {error}") from error
        vocoder = cls(parts.config, network.to(device or torch.get_default_device(), precision))
        vocoder.source = str(source)
        return vocoder

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves config and weights; what a tokenizer saved there is kept.

        Raises:
            CheckpointError: the folder holds another tokenizer, or the weights were rounded by `dtype`.
        """
        target = Path(folder)
        config = checkpoint.add_to_config(target, self.config)
        self._check_exact()
        target.mkdir(parents=True, exist_ok=True)
        checkpoint.write_tensors(target / VOCODER, self.network.state_dict(), self.fingerprint)
        checkpoint.write_checkpoint_config(target, config)

    def __repr__(self) -> str:
        generator = "hifigan" if self.config.generator.hifigan else "istft"
        return (
            f"Vocoder(layers={self.layers}, codebook_sizes={self.config.codebook_sizes}, "
            f"sample_rate={self.sample_rate}, hop_length={self.hop_length}, fingerprint={self.fingerprint!r}, "
            f"generator={generator}, {self.dtype} on {self.device})"
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Encoder layers that it can decode."""
        return self.config.layers

    def decode(self, tokens: Tokens, *, layers: Sequence[int] | None = None) -> Tensor:
        """Tokens -> speech. An utterance sounds the same alone and beside any others.

        Args:
            tokens: of this vocoder's tokenizer, on any device.
            layers: use these alone, in any order; by default all that the tokens have.

        Returns:
            float32 [batch, frames x hop_length] in [-1, 1], zero past each utterance's length, on `self.device`.

        Raises:
            TokensError: no tokens, or those of another tokenizer.
            LayerError: a layer that the tokens or the vocoder lack, or twice the same.
        """
        tokens = self._take(tokens, layers)
        # In one order, so that sums over layers are the same in whatever order they were asked for.
        tokens = tokens.select(sorted(tokens.layers))
        positions = [self.layers.index(layer) for layer in tokens.layers]
        codes, lengths = tokens.codes.to(self.device), tokens.lengths
        waveforms = torch.zeros(len(codes), codes.shape[2] * self.hop_length, dtype=torch.float32, device=self.device)
        # Together only what is equally long: nothing then depends on padding.
        for frames in sorted(set(lengths.tolist()) - {0}):
            for rows in (lengths == frames).nonzero()[:, 0].to(self.device).split(max(1, _BATCH_FRAMES // frames)):
                with torch.inference_mode():
                    decoded = self.network(codes[rows, :, :frames], positions)
                waveforms[rows, : frames * self.hop_length] = decoded.float().clamp(-1, 1)
        return waveforms


def build_network(config: VocoderConfig) -> ScalableVocoder:
    """The network that a config describes, with random weights."""
    return ScalableVocoder(
        config.codebook_sizes,
        embedding_dim=config.embedding_dim,
        attention_dim=config.attention_dim,
        generator=config.generator,
        absent_embedding=config.absent_embedding,
    )
