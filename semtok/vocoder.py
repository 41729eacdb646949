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
from semtok.errors import CheckpointError, TokensError
from semtok.hub import resolve
from semtok.modules.scalable_vocoder import ScalableVocoder
from semtok.tokens import Tokens, check_layers


# Bounds memory where many utterances are given at once.
_BATCH_FRAMES = 6000


class Vocoder:
    """Decodes tokens of its own tokenizer, from any subset of layers (Mousavi et al., 2024, section 2.3).

    Attributes:
        config: what `config.json` says.
        network: `semtok.modules.scalable_vocoder.ScalableVocoder`.
    """

    def __init__(self, config: VocoderConfig, network: ScalableVocoder) -> None:
        self.config = config
        self.network = network.requires_grad_(False).eval()

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
        """Loads a vocoder; arguments and errors as of `Tokenizer.from_pretrained`. Waveforms are float32 in any dtype."""
        precision = checkpoint.parse_dtype(dtype)
        repository = resolve(
            name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
        )
        config = checkpoint.read_checkpoint_config(repository).vocoder
        if config is None:
            raise CheckpointError(f"{repository.name} holds a tokenizer alone, no vocoder")
        path = repository.file(VOCODER)
        tensors = checkpoint.read_tensors(path, config.fingerprint)
        with torch.device("meta"):  # no random weights are drawn
            network = build_network(config)
        try:
            network.load_state_dict(tensors, assign=True)
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit config.json: {error}") from error
        return cls(config, network.to(device or torch.get_default_device(), precision))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves config and weights; what a tokenizer saved there is kept.

        Raises:
            CheckpointError: the folder holds another tokenizer, or the weights were rounded by `dtype`.
        """
        target = Path(folder)
        config = checkpoint.add_to_config(target, self.config)
        checkpoint.check_exact(self._dtype)
        target.mkdir(parents=True, exist_ok=True)
        checkpoint.write_tensors(target / VOCODER, self.network.state_dict(), self.fingerprint)
        checkpoint.write_checkpoint_config(target, config)

    def __repr__(self) -> str:
        generator = "hifigan" if self.config.generator.hifigan else "istft"
        return (
            f"Vocoder(layers={self.layers}, codebook_sizes={self.config.codebook_sizes}, sample_rate={self.sample_rate}, "
            f"hop_length={self.hop_length}, fingerprint={self.fingerprint!r}, generator={generator}, {self._dtype}, "
            f"on {self.device})"
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Encoder layers that it can decode."""
        return self.config.layers

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms it makes."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        return self.config.hop_length

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer whose tokens it decodes."""
        return self.config.fingerprint

    @property
    def device(self) -> torch.device:
        """Where it runs, and where waveforms come out."""
        return next(self.network.parameters()).device

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def decode(self, tokens: Tokens, *, layers: Sequence[int] | None = None) -> Tensor:
        """Tokens -> speech. An utterance sounds the same alone and beside any others.

        Args:
            tokens: of this vocoder's tokenizer, on any device.
            layers: use these alone, in any order; by default all that the tokens have.

        Returns:
            float32 [batch, frames x hop_length] in [-1, 1], zero past each utterance's length, on `self.device`.

        Raises:
            TokensError: the tokens are another tokenizer's.
            LayerError: a layer that the tokens or the vocoder lack, or twice the same.
        """
        tokens = self._check(tokens, layers)
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

    def _check(self, tokens: Tokens, layers: Sequence[int] | None) -> Tokens:
        """The tokens of the layers that are meant, ascending, once they are found to be of this vocoder's tokenizer."""
        if not isinstance(tokens, Tokens):
            raise TokensError(f"expected Tokens as Tokenizer.encode gives them, got {type(tokens).__name__}")
        if tokens.fingerprint != self.fingerprint:
            raise TokensError(
                f"these tokens are of tokenizer {tokens.fingerprint}, this vocoder decodes those of {self.fingerprint}: "
                "load tokenizer and vocoder from the same checkpoint"
            )
        if layers is not None:
            tokens = tokens.select(layers)
        # In one order, so that sums over layers are the same in whatever order they were asked for.
        tokens = tokens.select(sorted(check_layers(tokens.layers, self.layers, owner="this vocoder")))
        sizes = tuple(self.config.codebook_sizes[self.layers.index(layer)] for layer in tokens.layers)
        if tokens.codebook_sizes != sizes:
            raise TokensError(
                f"the tokens of layers {tokens.layers} have codebook_sizes {tokens.codebook_sizes}, this vocoder's are {sizes}"
            )
        return tokens


def build_network(config: VocoderConfig) -> ScalableVocoder:
    """The network that a config describes, with random weights."""
    return ScalableVocoder(
        config.codebook_sizes,
        embedding_dim=config.embedding_dim,
        attention_dim=config.attention_dim,
        generator=config.generator,
    )
