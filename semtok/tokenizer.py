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
from semtok.checkpoint import ENCODER
from semtok.config import TokenizerConfig
from semtok.errors import CheckpointError
from semtok.hub import resolve
from semtok.modules.batches import run_batches
from semtok.modules.encoder import Encoder
from semtok.modules.quantizer import Quantizer
from semtok.pretrained import Pretrained, parse_dtype
from semtok.sources import new_tokenizer_config, tokenizer_parts
from semtok.tokens import Tokens, check_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Tokenizer(Pretrained):
    """A frozen speech encoder and a k-means codebook for each chosen layer (Mousavi et al., 2024, section 2.1).

    Made by `from_pretrained`, or from a model and its centroids by `from_centroids`. `config` is what `config.json`
    says of the layers loaded, `encoder` the `semtok.modules.encoder.Encoder`.
    """

    config: TokenizerConfig

    def __init__(self, config: TokenizerConfig, encoder: Encoder, centroids: Mapping[int, Tensor]) -> None:
        """Centroids [codebook_size, dim] of layers of the config, in the order in which `encode` is to answer."""
        made = (encoder.dim, encoder.sample_rate, encoder.hop_length)
        if made != (said := (config.dim, config.sample_rate, config.hop_length)):
            raise CheckpointError(f"(dim, sample_rate, hop_length) of the encoder are {made}, expected {said}")
        sizes = dict(zip(config.layers, config.codebook_sizes, strict=True))
        for layer, points in centroids.items():
            if list(points.shape) != (shape := [sizes[layer], config.dim]):
                raise CheckpointError(f"centroids of layer {layer} must have shape {shape}, got {list(points.shape)}")
        loaded = tuple(sorted(centroids))
        config = dataclasses.replace(config, layers=loaded, codebook_sizes=tuple(sizes[layer] for layer in loaded))
        super().__init__(config, encoder)
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
        encoder: str | None = None,
        dataset: str | None = None,
        num_clusters: int | None = None,
    ) -> Tokenizer:
        """Loads a tokenizer.

        Args:
            name: a bundled name ("tiny"), a folder, or a hub id "owner/name"; semtok's own, or SpeechBrain's (see
                `semtok models`).
            layers: load these layers alone, and the encoder up to the deepest of them; `encode` then answers in this
                order. All by default, ascending.
            revision: branch, tag or commit of a hub id; `cache_dir` says where downloads are kept, `token` opens
                private repositories, and with `local_files_only` the hub is not asked: all as in huggingface_hub.
            device: where it runs; torch's default device (the CPU) by default.
            dtype: of the encoder, e.g. "bfloat16"; float32 by default, the only one whose tokens are exact.
            encoder: hub id or folder of the encoder, instead of the one that the checkpoint names; needed where the
                published sources disagree (SpeechBrain's wav2vec2).
            dataset, num_clusters: which of several codebooks, in `speechbrain/SSL_Quantization` alone.

        Raises:
            CheckpointError: the name, a file or a revision does not exist; a file is corrupt, or of another tokenizer
                than `config.json` by the fingerprint it carries (its content is not hashed again); an unknown dtype.
            ConfigError: `config.json` has unknown, missing or ill-typed entries, or some that contradict each other.
            LayerError: the checkpoint lacks a layer, or one is asked for twice.
        """
        precision = parse_dtype(dtype)
        source = resolve(name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        config, model, centroids = tokenizer_parts(
            source, layers, encoder=encoder, dataset=dataset, num_clusters=num_clusters
        )
        wrapped = Encoder(model, normalize=config.normalize, normalize_epsilon=config.normalize_epsilon)
        wrapped.to(device or torch.get_default_device(), precision)
        tokenizer = cls(config, wrapped, centroids)
        tokenizer.source = str(source)
        return tokenizer

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

        Raises `CheckpointError` for a model of an unsupported family or centroids of another shape, `ConfigError` for a
        hub id without a revision, and `LayerError` for a layer that the model has not.
        """
        wrapped = Encoder(model, normalize=normalize)
        layers = check_layers(sorted(centroids), range(wrapped.num_layers + 1), owner="the encoder")
        config = new_tokenizer_config(wrapped, {layer: centroids[layer] for layer in layers}, encoder, encoder_revision)
        return cls(config, wrapped, {layer: centroids[layer] for layer in layers})

    def save_pretrained(self, folder: str | os.PathLike[str], *, include_encoder: bool = False) -> None:
        """Saves config, centroids and, unless it is a hub id, the encoder up to the deepest layer, beside any vocoder.

        With `include_encoder` also one that is a hub id; fingerprint and tokens stay the same.

        Raises:
            CheckpointError: the folder holds a vocoder of another tokenizer, or the encoder was rounded by `dtype`.
        """
        target = Path(folder)
        section = self.config
        if include_encoder:
            section = dataclasses.replace(section, encoder=ENCODER, encoder_revision=None)
        config = checkpoint.add_to_config(target, section)
        beside = section.encoder == ENCODER
        if beside:
            self._check_exact()
        target.mkdir(parents=True, exist_ok=True)
        checkpoint.write_centroids(target, {layer: self.centroids(layer) for layer in self.layers}, self.fingerprint)
        if beside:
            checkpoint.write_encoder(target, self.encoder.model, max(self.layers), self.fingerprint)
        checkpoint.write_checkpoint_config(target, config)

    def __repr__(self) -> str:
        model = self.encoder.model
        return (
            f"Tokenizer(layers={self.layers}, codebook_sizes={self.codebook_sizes}, sample_rate={self.sample_rate}, "
            f"hop_length={self.hop_length}, fingerprint={self.fingerprint!r}, encoder={model.config.model_type} of "
            f"{self.encoder.num_layers} layers of {self.encoder.dim}, {self.dtype} on {self.device})"
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Encoder layers that have a codebook here; 1 is the output of the first transformer layer."""
        return tuple(self._quantizers)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each of `layers`."""
        return tuple(quantizer.codebook_size for quantizer in self._quantizers.values())

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
            audio: a path, a list of paths, a numpy array or torch tensor [samples] or [batch, samples], or a list of
                1-D arrays of any lengths; floating point in [-1, 1]. [2, samples] could be stereo, and is taken as a
                batch only together with `lengths`.
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
        result = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for clips, features, valid in run_batches(self.encoder, waveforms, chosen):
            result[clips, :, : valid.shape[1]] = torch.stack(features, dim=1)
        return result

    def embed(self, tokens: Tokens) -> Tensor:
        """The centroids that tokens stand for: float32 [batch, layers, frames, dim], 0 past each utterance's length.

        Raises:
            TokensError: no tokens, or those of another tokenizer.
            LayerError: this tokenizer lacks a layer of theirs.
        """
        tokens = self._take(tokens)
        codes = tokens.codes.to(self.device)
        vectors = [self.centroids(layer)[codes[:, i].clamp(min=0)] for i, layer in enumerate(tokens.layers)]
        return torch.stack(vectors, dim=1).masked_fill((codes < 0)[..., None], 0)
