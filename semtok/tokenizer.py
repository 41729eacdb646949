"""`Tokenizer`: speech -> tokens of the chosen layers of a self-supervised encoder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semtok.checkpoints.config import ENCODER, TokenizerConfig
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import resolve
from semtok.checkpoints.native import new_tokenizer_config, write_tokenizer
from semtok.checkpoints.pretrained import check_compiler, parse_dtype
from semtok.checkpoints.readers import find_reader
from semtok.codebooks.layers import check_layers, row_slices
from semtok.codebooks.quantizer import ResidualQuantizer
from semtok.encoder.encoder import Encoder
from semtok.encoding import Encoding
from semtok.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Tokenizer(Encoding):
    """A frozen speech encoder and a k-means codebook for each chosen layer (Mousavi et al., 2024, section 2.1).

    Made by `from_pretrained`, or from a model and its centroids by `from_centroids`. `config` is what `config.json`
    says of the layers loaded, `encoder` the `semtok.encoder.encoder.Encoder`.
    """

    def __init__(self, config: TokenizerConfig, encoder: Encoder, centroids: Mapping[int, Sequence[Tensor]]) -> None:
        """Centroids [codebook_size, dim] of each stage of layers of the config, in the order `encode` is to answer."""
        made = (encoder.dim, encoder.sample_rate, encoder.hop_length)
        if made != (said := (config.dim, config.sample_rate, config.hop_length)):
            raise CheckpointError(f"(dim, sample_rate, hop_length) of the encoder are {made}, expected {said}")
        sizes = dict(zip(config.layers, map(config.codebook_sizes.__getitem__, row_slices(config.stages)), strict=True))
        for layer, stages in centroids.items():
            expected = [[size, config.dim] for size in sizes[layer]]
            if (shapes := [list(points.shape) for points in stages]) != expected:
                raise CheckpointError(f"centroids of layer {layer} must have shapes {expected}, got {shapes}")
        loaded = tuple(sorted(centroids))
        config = dataclasses.replace(
            config,
            layers=loaded,
            codebook_sizes=tuple(size for layer in loaded for size in sizes[layer]),
            stages=tuple(len(sizes[layer]) for layer in loaded),
        )
        super().__init__(config, encoder)
        self.encoder = encoder
        self._quantizers = {layer: ResidualQuantizer(stages).to(self.device) for layer, stages in centroids.items()}

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
        compile: bool = False,
        encoder: str | None = None,
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
            compile: have torch.compile make one program of a transformer layer, which takes up to a minute on first
                use and then serves all layers and lengths. docs/performance.md says when `dtype` and `compile` pay.
            encoder: hub id or folder of the encoder, instead of the one that the checkpoint names; needed where the
                published sources disagree (SpeechBrain's wav2vec2).

        Raises:
            CheckpointError: the name, a file or a revision does not exist; a file is corrupt, or of another tokenizer
                than `config.json` by the fingerprint it carries (its content is not hashed again); an unknown dtype;
                nothing to compile with; several tokenizers in one repository, one of which has to be imported.
            ConfigError: `config.json` has unknown, missing or ill-typed entries, or some that contradict each other.
            LayerError: the checkpoint lacks a layer, or one is asked for twice.
        """
        precision = parse_dtype(dtype)
        source = resolve(name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        parts = find_reader(source).tokenizer_parts(source, layers=layers, encoder=encoder)
        config, model = parts.config, read_encoder(parts.encoder, max(parts.centroids))
        wrapped = Encoder(model, normalize=config.normalize, normalize_epsilon=config.normalize_epsilon)
        wrapped.to(device or torch.get_default_device(), precision)
        if compile:
            check_compiler(device or torch.get_default_device())
            wrapped.compile_layers()
        tokenizer = cls(config, wrapped, parts.centroids)
        tokenizer.source = str(source)
        return tokenizer

    @classmethod
    def from_centroids(
        cls,
        model: PreTrainedModel,
        centroids: Mapping[int, Tensor | Sequence[Tensor]],
        *,
        normalize: bool,
        encoder: str = ENCODER,
        encoder_revision: str | None = None,
    ) -> Tokenizer:
        """A tokenizer of an encoder of transformers and centroids [codebook_size, dim] of some of its layers.

        Args:
            model: a base model of transformers; taken over, not copied.
            centroids: by layer number; the layers become ascending. A list holds those of residual stages: each stage
                quantizes what the stages before it left over.
            normalize: whether the encoder takes input of zero mean and unit variance (`do_normalize`).
            encoder: hub id of the model, which is then saved by reference; by default its weights are saved beside.
            encoder_revision: commit of the hub id.

        Raises `CheckpointError` for a model of an unsupported family or centroids of another shape, `ConfigError` for a
        hub id without a revision, and `LayerError` for a layer that the model has not.
        """
        wrapped = Encoder(model, normalize=normalize)
        layers = check_layers(sorted(centroids), range(wrapped.num_layers + 1), owner="the encoder")
        given = ((layer, centroids[layer]) for layer in layers)
        stages = {layer: [points] if isinstance(points, Tensor) else list(points) for layer, points in given}
        return cls(new_tokenizer_config(wrapped, stages, encoder, encoder_revision), wrapped, stages)

    def save_pretrained(self, folder: str | os.PathLike[str], *, include_encoder: bool = False) -> None:
        """Saves config, centroids and, unless it is a hub id, the encoder up to the deepest layer, beside any vocoder.

        With `include_encoder` also one that is a hub id; fingerprint and tokens stay the same.

        Raises:
            CheckpointError: the folder holds a vocoder of another tokenizer, or the encoder was rounded by `dtype`.
        """
        section = self.config
        if include_encoder:
            section = dataclasses.replace(section, encoder=ENCODER, encoder_revision=None)
        if section.encoder == ENCODER:
            self._check_exact()
        stages = {layer: [stage.centroids for stage in found.stages] for layer, found in self._quantizers.items()}
        write_tokenizer(Path(folder), section, stages, self.encoder.model)

    def __repr__(self) -> str:
        model = self.encoder.model
        return (
            f"Tokenizer(layers={self.layers}, codebook_sizes={self.codebook_sizes}, sample_rate={self.sample_rate}, "
            f"hop_length={self.hop_length}, fingerprint={self.fingerprint!r}, encoder={model.config.model_type} of "
            f"{self.encoder.num_layers} layers of {self.encoder.dim}, {self.dtype} on {self.device})"
        )
