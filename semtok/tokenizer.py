"""`Tokenizer`: speech -> tokens of the chosen layers of a self-supervised encoder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semtok import checkpoint
from semtok.audio import AudioArray, AudioInput, to_waveforms
from semtok.checkpoint import CENTROIDS, ENCODER
from semtok.config import TokenizerConfig
from semtok.errors import CheckpointError, TokensError
from semtok.fingerprint import fingerprint_of, weights_identity
from semtok.hub import resolve
from semtok.modules.batches import run_batches
from semtok.modules.encoder import Encoder
from semtok.modules.quantizer import Quantizer
from semtok.tokens import Tokens, check_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Tokenizer:
    """A frozen speech encoder and a k-means codebook for each chosen layer (Mousavi et al., 2024, section 2.1).

    Made by `from_pretrained`, or from a model and its centroids by `from_centroids`.

    Attributes:
        config: what `config.json` says of the layers loaded.
        encoder: `semtok.modules.encoder.Encoder`.
    """

    def __init__(self, config: TokenizerConfig, encoder: Encoder, centroids: Mapping[int, Tensor]) -> None:
        """Centroids [codebook_size, dim] of some of the config's layers, in the order in which `encode` is to answer."""
        sizes = dict(zip(config.layers, config.codebook_sizes, strict=True))
        for layer, points in centroids.items():
            if list(points.shape) != (expected := [sizes[layer], config.dim]):
                raise CheckpointError(
                    f"centroids of layer {layer} have shape {list(points.shape)}, expected {expected}"
                )
        for name in ("dim", "sample_rate", "hop_length"):
            if getattr(encoder, name) != getattr(config, name):
                raise CheckpointError(
                    f"{name} of the encoder is {getattr(encoder, name)}, expected {getattr(config, name)}"
                )
        layers = tuple(sorted(centroids))
        self.config = dataclasses.replace(config, layers=layers, codebook_sizes=tuple(sizes[layer] for layer in layers))
        self.encoder = encoder
        self._quantizers = {layer: Quantizer(points).to(self.device) for layer, points in centroids.items()}

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        layers: Sequence[int] | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> Tokenizer:
        """Loads a tokenizer.

        Args:
            name: a bundled name ("tiny"), a folder, or a hub id "owner/name".
            layers: load these layers alone, and the encoder up to the deepest of them; `encode` then answers in this
                order. All by default, ascending.
            revision: branch, tag or commit of a hub id.
            cache_dir: where downloads are kept; by default where huggingface_hub keeps them.
            token: access token for private repositories.
            local_files_only: use downloaded files alone, without asking the hub.
            device: where it runs; torch's default device (the CPU) by default.
            dtype: of the encoder, e.g. "bfloat16"; float32 by default, the only one whose tokens are exact.

        Raises:
            CheckpointError: the name, a file or a revision does not exist; a file is corrupt, or of another tokenizer
                than `config.json` by the fingerprint it carries (its content is not hashed again); an unknown dtype.
            ConfigError: `config.json` has unknown, missing or ill-typed entries, or some that contradict each other.
            LayerError: the checkpoint lacks a layer, or one is asked for twice.
        """
        precision = checkpoint.parse_dtype(dtype)
        repository = resolve(
            name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
        )
        config = checkpoint.read_checkpoint_config(repository).tokenizer
        if config is None:
            raise CheckpointError(f"{repository.name} holds a vocoder alone, no tokenizer")
        chosen = config.layers if layers is None else check_layers(layers, config.layers, owner=repository.name)
        tensors = checkpoint.read_tensors(
            repository.file(CENTROIDS), config.fingerprint, [_name(layer) for layer in chosen]
        )
        model = checkpoint.read_tokenizer_encoder(repository, config, max(chosen))
        encoder = Encoder(model, normalize=config.normalize).to(device or torch.get_default_device(), precision)
        return cls(config, encoder, {layer: tensors[_name(layer)] for layer in chosen})

    @classmethod
    def from_centroids(
        cls,
        model: PreTrainedModel,
        centroids: Mapping[int, Tensor],
        *,
        normalize: bool,
        encoder: str = ENCODER,
        encoder_revision: str | None = None,
    ) -> Tokenizer:
        """A tokenizer of an encoder of transformers and centroids [codebook_size, dim] of some of its layers.

        Args:
            model: a base model of transformers; taken over, not copied.
            centroids: by layer number; the layers become ascending.
            normalize: whether the encoder takes input of zero mean and unit variance (`do_normalize`).
            encoder: hub id of the model, which is then saved by reference; by default its weights are saved beside.
            encoder_revision: commit of the hub id.

        Raises:
            CheckpointError: a model of an unsupported family, or centroids of another shape.
            ConfigError: a hub id without a revision.
            LayerError: centroids of a layer that the model has not.
        """
        wrapped = Encoder(model, normalize=normalize)
        layers = check_layers(sorted(centroids), range(wrapped.num_layers + 1), owner="the encoder")
        identity = weights_identity(model) if encoder == ENCODER else f"{encoder}@{encoder_revision}"
        config = TokenizerConfig(
            encoder=encoder,
            encoder_revision=encoder_revision,
            normalize=normalize,
            layers=layers,
            codebook_sizes=tuple(len(centroids[layer]) for layer in layers),
            dim=wrapped.dim,
            sample_rate=wrapped.sample_rate,
            hop_length=wrapped.hop_length,
            fingerprint=fingerprint_of(identity, centroids),
        )
        return cls(config, wrapped, {layer: centroids[layer] for layer in layers})

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves the layers loaded: config, centroids and, unless it is a hub id, the encoder; a vocoder there is kept.

        Raises:
            CheckpointError: the folder holds a vocoder of another tokenizer, or the encoder was rounded by `dtype`.
        """
        target = Path(folder)
        config = checkpoint.add_to_config(target, self.config)
        if self.config.encoder == ENCODER:
            checkpoint.check_exact(self.encoder.model.dtype)
        target.mkdir(parents=True, exist_ok=True)
        centroids = {_name(layer): self.centroids(layer) for layer in self.config.layers}
        checkpoint.write_tensors(target / CENTROIDS, centroids, self.fingerprint)
        if self.config.encoder == ENCODER:
            checkpoint.write_encoder(target, self.encoder.model, self.fingerprint)
        checkpoint.write_checkpoint_config(target, config)

    def __repr__(self) -> str:
        model = self.encoder.model
        return (
            f"Tokenizer(layers={self.layers}, codebook_sizes={self.codebook_sizes}, sample_rate={self.sample_rate}, "
            f"hop_length={self.hop_length}, fingerprint={self.fingerprint!r}, encoder={model.config.model_type} of "
            f"{self.encoder.num_layers} layers of {self.encoder.dim}, {model.dtype}, on {self.device})"
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Encoder layers that have a codebook here; 1 is the output of the first transformer layer."""
        return tuple(self._quantizers)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each of `layers`."""
        return tuple(quantizer.codebook_size for quantizer in self._quantizers.values())

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that the encoder takes; other rates are resampled to it."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length

    @property
    def fingerprint(self) -> str:
        """Hash of encoder and centroids; tokens carry it, and a vocoder takes only those of its own tokenizer."""
        return self.config.fingerprint

    @property
    def device(self) -> torch.device:
        """Where the encoder is, and where tokens come out."""
        return next(self.encoder.parameters()).device

    def centroids(self, layer: int) -> Tensor:
        """Centroids of one layer, float32 [codebook_size, dim]."""
        check_layers([layer], self.layers, owner="this tokenizer")
        return self._quantizers[layer].centroids

    def encode(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
        layers: Sequence[int] | None = None,
    ) -> Tokens:
        """Speech -> tokens. A clip gets the same tokens alone and beside any others.

        Args:
            audio: a path, a list of paths, a numpy array or torch tensor [samples] or [batch, samples], or a list of 1-D
                arrays of any lengths; floating point in [-1, 1]. Two channels are not guessed to be a batch: see
                `semtok.audio.to_waveforms`.
            sample_rate: Hz of the arrays, which are resampled if it is not `self.sample_rate`; None says they are at
                `self.sample_rate`. Files say their own rate.
            lengths: samples of each row of a [batch, samples] array.
            layers: which layers, in the order in which the answer has them; all by default.

        Returns:
            Tokens with codes int64 [batch, layers, frames], -1 past each clip's length, on `self.device`. A clip of n
            samples has floor((n - 400) / 320) + 1 frames with the usual front end.

        Raises:
            AudioError: audio that cannot be read or is no speech waveform; clips shorter than one frame.
            LayerError: a layer that this tokenizer lacks, or twice the same.
        """
        chosen = self.layers if layers is None else check_layers(layers, self.layers, owner="this tokenizer")
        waveforms = to_waveforms(audio, sample_rate=sample_rate, target_sample_rate=self.sample_rate, lengths=lengths)
        frames = torch.tensor([self.encoder.frame_count(len(w)) for w in waveforms], device=self.device)
        codes = torch.full((len(waveforms), len(chosen), int(frames.max())), -1, device=self.device)
        for clips, features, valid in run_batches(self.encoder, waveforms, chosen):
            for position, layer in enumerate(chosen):
                found = self._quantizers[layer](features[position])
                codes[clips, position, : valid.shape[1]] = found.masked_fill(~valid, -1)
        sizes = tuple(self._quantizers[layer].codebook_size for layer in chosen)
        return Tokens(codes, frames, chosen, self.frame_rate, sizes, self.fingerprint)

    def features(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
        layers: Sequence[int] | None = None,
    ) -> Tensor:
        """The continuous features that `encode` quantizes: [batch, layers, frames, dim], 0 past each clip's frames.

        In the encoder's dtype, on `self.device`. Arguments and errors as of `encode`.
        """
        chosen = self.layers if layers is None else check_layers(layers, self.layers, owner="this tokenizer")
        waveforms = to_waveforms(audio, sample_rate=sample_rate, target_sample_rate=self.sample_rate, lengths=lengths)
        shape = (len(waveforms), len(chosen), self.encoder.frame_count(max(map(len, waveforms))), self.encoder.dim)
        result = torch.zeros(shape, dtype=self.encoder.model.dtype, device=self.device)
        for clips, features, valid in run_batches(self.encoder, waveforms, chosen):
            result[clips, :, : valid.shape[1]] = torch.stack(features, dim=1)
        return result

    def embed(self, tokens: Tokens) -> Tensor:
        """The centroids that tokens stand for: float32 [batch, layers, frames, dim], 0 past each utterance's length.

        Raises:
            TokensError: the tokens are another tokenizer's.
            LayerError: this tokenizer lacks a layer of theirs.
        """
        if tokens.fingerprint != self.fingerprint:
            raise TokensError(
                f"tokens of tokenizer {tokens.fingerprint} cannot be read by tokenizer {self.fingerprint}"
            )
        check_layers(tokens.layers, self.layers, owner="this tokenizer")
        codes = tokens.codes.to(self.device)
        vectors = [self.centroids(layer)[codes[:, i].clamp(min=0)] for i, layer in enumerate(tokens.layers)]
        return torch.stack(vectors, dim=1).masked_fill((codes < 0)[..., None], 0)


def _name(layer: int) -> str:
    """Of a layer's centroids in their file."""
    return f"layer_{layer}"
