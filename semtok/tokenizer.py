"""`Tokenizer`: speech -> tokens of the chosen layers of a self-supervised encoder."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.io import AudioArray
from semtok.audio.lengths import CHUNK_SECONDS, CONTEXT_SECONDS, frame_mask
from semtok.audio.recordings import AudioClip, AudioInput, open_recordings
from semtok.checkpoints.card import Card
from semtok.checkpoints.config import ENCODER, TokenizerConfig
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import Repository, resolve
from semtok.checkpoints.native import card_of_folder, new_tokenizer_config, write_tokenizer
from semtok.checkpoints.pretrained import Pretrained
from semtok.checkpoints.readers import find_reader
from semtok.codebooks.codebooks import Codebooks, code_type
from semtok.codebooks.fingerprint import segments_fingerprint
from semtok.codebooks.layers import Layer, Mixture, check_layers, deepest, in_order
from semtok.codebooks.segmentation import Segmentation
from semtok.encoder.batches import Clips, run_all, run_each
from semtok.encoder.code_encoder import CodeEncoder
from semtok.encoder.encoder import Encoder
from semtok.encoder.segment_encoder import SegmentEncoder
from semtok.encoder.statistics import Statistics
from semtok.errors import AudioError, CheckpointError, LayerError
from semtok.networks.precision import check_compiler, parse_dtype
from semtok.streaming.tokenizer import TokenizerStream
from semtok.tokens import Tokens, take_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semtok.encoder.model import SpeechModel

Stages: TypeAlias = Tensor | Sequence[Tensor]
"""Centroids [codebook_size, dim] of a layer, or of each of its residual stages."""
Codes: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


@dataclasses.dataclass(frozen=True)
class EncodingOptions:
    """The options that `encode`, `encode_each` and `features` of a `Tokenizer` share; `encode` describes them."""

    sample_rate: int | None
    lengths: Sequence[int] | AudioArray | None
    layers: Sequence[Layer] | None
    chunk_seconds: float
    context_seconds: float
    finite: bool = False


class Tokenizer(Pretrained):
    """A frozen speech encoder and a k-means codebook for each chosen layer (Mousavi et al., 2024, section 2.1).

    `from_pretrained` loads a tokenizer; `from_centroids` makes one of a model and centroids.

    Attributes:
        config: section of `config.json` for the layers loaded, with the layers in the order of the codes.
        encoder: `semtok.encoder.encoder.Encoder`.
        network: encoder and codebooks together, `semtok.encoder.code_encoder.CodeEncoder`.
    """

    config: TokenizerConfig
    network: CodeEncoder

    def __init__(self, config: TokenizerConfig, encoder: Encoder, centroids: Mapping[Layer, Sequence[Tensor]]) -> None:
        """A tokenizer of the layers that have centroids.

        Args:
            config: section of `config.json`.
            encoder: takes the waveforms.
            centroids: [codebook_size, dim] of each residual stage, by layer. `encode` gives the layers in this order.

        Raises:
            CheckpointError: the encoder or the centroids have other sizes than the config says.
            LayerError: a layer that the config lacks.
        """
        measures = (encoder.dim, encoder.sample_rate, encoder.hop_length)
        if measures != (expected := (config.dim, config.sample_rate, config.hop_length)):
            raise CheckpointError(f"(dim, sample_rate, hop_length) of the encoder are {measures}, expected {expected}")
        config = config.select(centroids, owner="the config")
        for layer, sizes in config.codebooks.items():
            wanted = [[size, config.dim] for size in sizes]
            if (shapes := [list(points.shape) for points in centroids[layer]]) != wanted:
                raise CheckpointError(f"centroids of layer {layer} must have shapes {wanted}, got {shapes}")
        if config.segmentation is None:
            network = CodeEncoder(encoder, centroids)
        else:
            ((layer, (points,)),) = centroids.items()
            network = SegmentEncoder(encoder, layer, points, config.segmentation)
        super().__init__(config, network)
        self.encoder = encoder

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        layers: Sequence[Layer] | None = None,
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
            layers: only these layers are loaded, and the encoder only up to the deepest of them. `encode` gives the
                layers in this order. All layers by default, ascending.
            revision: branch, tag or commit of a hub id.
            cache_dir: where downloads are stored, as in huggingface_hub.
            token: access token for private repositories, as in huggingface_hub.
            local_files_only: use downloads of earlier calls, without asking the hub.
            device: where the tokenizer runs; torch's default device (the CPU) by default.
            dtype: of the encoder, e.g. "bfloat16"; float32 by default. Only the tokens of float32 are exact.
            compile: have torch.compile make one program for all transformer layers, which takes up to a minute on
                first use. docs/performance.md says when `dtype` and `compile` pay.
            encoder: hub id or folder of another encoder than the one that the checkpoint names. SpeechBrain's
                wav2vec2 needs it, as the published sources disagree on the encoder.

        Raises:
            CheckpointError: the name, a file or a revision does not exist; a file is corrupt, or has another
                fingerprint than `config.json` (contents are not hashed again); an unknown dtype; no compiler; several
                tokenizers in one repository, one of which has to be imported.
            ConfigError: `config.json` has unknown, missing or ill-typed entries, or some that contradict each other.
            LayerError: the checkpoint lacks a layer, or one is asked for twice.
        """
        source = resolve(name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        return cls.load(source, layers=layers, device=device, dtype=dtype, compile=compile, encoder=encoder)

    @classmethod
    def load(
        cls,
        repository: Repository,
        *,
        layers: Sequence[Layer] | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        compile: bool = False,
        encoder: str | None = None,
    ) -> Tokenizer:
        """The tokenizer that a repository holds; arguments and errors as in `from_pretrained`."""
        precision = parse_dtype(dtype)
        parts = find_reader(repository).tokenizer_parts(repository, layers=layers, encoder=encoder)
        config = parts.config.select(parts.centroids, owner=repository.name)
        wrapped = Encoder(
            read_encoder(parts.encoder, deepest(config.layers, config.mixtures)),
            normalize=config.normalize,
            normalize_epsilon=config.normalize_epsilon,
            mixtures=config.mixtures,
        )
        wrapped.to(device or torch.get_default_device(), precision)
        if compile:
            check_compiler(device or torch.get_default_device())
            wrapped.compile_layers()
        try:
            return cls(config, wrapped, parts.centroids).loaded_from(repository)
        except CheckpointError as error:
            raise CheckpointError(f"{repository.name}: {error}") from error

    @classmethod
    def from_centroids(
        cls,
        model: SpeechModel | PreTrainedModel,
        centroids: Mapping[int, Stages] | Mapping[str, Stages] | Mapping[Layer, Stages],
        *,
        normalize: bool,
        encoder: str = ENCODER,
        encoder_revision: str | None = None,
        mixtures: Mapping[str, Mixture] | None = None,
    ) -> Tokenizer:
        """A tokenizer of an encoder and centroids [codebook_size, dim] of some of its layers.

        Args:
            model: a base model of transformers, whose weights are shared; or the model of an `Encoder`.
            centroids: by layer number, or by the name of a mixture; the tokenizer's layers are ascending, then come
                mixtures. A list has the centroids of residual stages, each of which quantizes the residual of the stage
                before it.
            normalize: whether the encoder takes input of zero mean and unit variance (`do_normalize`).
            encoder: hub id of the model. `save_pretrained` then saves this id; by default it saves the weights.
            encoder_revision: commit of the hub id.
            mixtures: the weights of layers, at least 0 and of sum 1, by the name that stands for their weighted sum:
                `{"mix": {3: 0.4, 7: 0.6}}`. Each layer is normalised in every frame before it is weighed.

        Raises:
            CheckpointError: a model of an unsupported family, or centroids of another shape.
            ConfigError: a hub id without a revision, a model with an entry in its config that semtok cannot run,
                weights that are no mixture, or a mixture without centroids.
            LayerError: a layer that the model lacks.
        """
        wrapped = Encoder(model, normalize=normalize, mixtures=mixtures)
        available: tuple[Layer, ...] = (*range(wrapped.num_layers + 1), *wrapped.mixtures)
        layers = check_layers(in_order(centroids), available, owner="the encoder")
        stages: dict[Layer, list[Tensor]] = {
            layer: [points] if isinstance(points, Tensor) else list(points) for layer, points in centroids.items()
        }
        stages = {layer: stages[layer] for layer in layers}
        return cls(new_tokenizer_config(wrapped, stages, encoder, encoder_revision), wrapped, stages)

    def segmented(self, layer: Layer, segmentation: Segmentation) -> Tokenizer:
        """The tokenizer of one layer whose codes stay the same within segments; it shares the encoder.

        `deduplicate` gives a code a segment and how long it lasts. Batches, streams, files, corpora and models take
        these tokens as they take those of frames, but a model of the one refuses tokens of the other.
        `semtok.segments.vocoder_of_segments` makes the vocoder for them.

        Raises:
            ConfigError: the layer has residual stages, or there is no such boundary layer up to it.
            LayerError: a layer that this tokenizer lacks.
        """
        config = dataclasses.replace(
            self.config.select([layer], owner="this tokenizer"),
            fingerprint=segments_fingerprint(self.fingerprint, segmentation.name),
            segmentation=segmentation,
        )
        return Tokenizer(config, self.encoder, {layer: self.network.centroids()[layer]})

    def save_pretrained(self, folder: str | os.PathLike[str], *, include_encoder: bool = False) -> None:
        """Saves the config, the centroids, and the encoder up to the deepest layer. A vocoder in the folder stays.

        Args:
            folder: created if there is none.
            include_encoder: save the weights of an encoder that has a hub id, too; by default its id alone is saved.
                Fingerprint and tokens stay the same.

        Raises:
            CheckpointError: the folder holds a vocoder of another tokenizer, or the encoder was rounded by `dtype`.
        """
        section = self.config
        if include_encoder:
            section = dataclasses.replace(section, encoder=ENCODER, encoder_revision=None)
        if section.encoder == ENCODER:
            self._check_exact()
        write_tokenizer(Path(folder), section, self.network.centroids(), self.encoder.model)

    def card(self, folder: Path, name: str) -> Card:
        """What the model card says of a folder that holds this and perhaps the other part; `name` is its hub id."""
        return card_of_folder(folder, name)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each row of codes. A row is a layer, or one of the residual stages of a layer."""
        return self.codebooks.sizes

    @property
    def stages(self) -> tuple[int, ...]:
        """Residual stages, and so rows of codes, of each of `layers`."""
        return self.codebooks.stages

    @property
    def layer_weights(self) -> dict[str, dict[int, float]]:
        """How much each layer of the encoder weighs in each layer that is a mixture: by name, then by number.

        The weights are at least 0 and of sum 1; layers that weigh nothing are left out.
        """
        return {name: dict(weights) for name, weights in self.config.mixtures.items()}

    def centroids(self, layer: Layer, stage: int = 1) -> Tensor:
        """A copy of the centroids of one residual stage of a layer, float32 [codebook_size, dim]."""
        check_layers([layer], self.layers, owner="this tokenizer")
        stages = self.network.quantizer(layer).stages
        if not 1 <= stage <= len(stages):
            raise LayerError(f"layer {layer} has {len(stages)} stages, numbered from 1; asked for stage {stage}")
        return stages[stage - 1].centroids.clone()

    def encode(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
        layers: Sequence[Layer] | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        context_seconds: float = CONTEXT_SECONDS,
        finite: bool = False,
        progress: bool = False,
    ) -> Tokens:
        """Speech -> tokens. A clip gets the same tokens alone and beside any others.

        Args:
            audio: a path, a list of paths, a numpy array or torch tensor [samples] or [batch, samples], or a list of
                1-D arrays of any lengths; floating point in [-1, 1]. Arrays [2, samples] and [6, samples], which may
                hold the channels of one recording, are taken as a batch only with `lengths`. The bytes of an audio
                file, a file open in binary mode, and a row of an audio column of `datasets` can stand for a path.
            sample_rate: Hz of the arrays, `self.sample_rate` by default; arrays of other rates are resampled. Files
                have their own rate.
            lengths: samples of each row of a [batch, samples] array.
            layers: in the order that the codes are to have; all by default.
            chunk_seconds: of the answer that each window of a long clip gives. A clip is long if it has more than a
                chunk and twice the context.
            context_seconds: that each window of a long clip shows the encoder on either side of its chunk.
            finite: the caller answers for arrays being free of NaN, Inf and peaks beyond 100. They are then not looked
                at, which on an accelerator would wait for its work: a batch that lies there with lengths on the host
                stays there.
            progress: show a bar on stderr.

        Returns:
            Tokens with codes int64 [batch, rows, frames], -1 past each clip's length, on `self.device`. A row is a
            layer, or one of the residual stages of a layer. With the usual front end a clip of n samples has
            floor((n - 400) / 320) + 1 frames.

        Raises:
            AudioError: audio that cannot be read or is no speech waveform; clips shorter than one frame.
            LayerError: a layer that this tokenizer lacks, or twice the same.
        """
        options = EncodingOptions(sample_rate, lengths, layers, chunk_seconds, context_seconds, finite)
        clips = self._clips(self.network, audio, options)
        return self._tokens(clips.layers, run_all(clips, progress=progress))

    def encode_each(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
        layers: Sequence[Layer] | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        context_seconds: float = CONTEXT_SECONDS,
    ) -> Iterator[tuple[int, Tokens | AudioError]]:
        """Speech -> tokens, clip by clip, for more clips than memory holds, or clips some of which are broken.

        Arguments as in `encode`.

        Returns:
            An iterator over all clips, long clips first: the number of a clip in `audio`, and its tokens, or the error
            of a clip that cannot be read or is shorter than one frame.

        Raises:
            AudioError, LayerError: the input as a whole is wrong, as in `encode`.
        """
        options = EncodingOptions(sample_rate, lengths, layers, chunk_seconds, context_seconds)
        clips = self._clips(self.network, audio, options)
        return (
            (number, outcome if isinstance(outcome, AudioError) else self._tokens(clips.layers, [outcome]))
            for number, outcome in run_each(clips)
        )

    def encode_batch(self, batch: Mapping[str, Sequence[AudioClip]], *, audio: str = "audio") -> dict[str, list[Codes]]:
        """Speech -> columns of codes, for `datasets`: `dataset.map(tokenizer.encode_batch, batched=True)`.

        Args:
            batch: columns of some rows. The audio may be decoded or not; `Audio(decode=False)` is faster.
            audio: name of the column of audio; `fn_kwargs={"audio": "speech"}` passes a name through `map`.

        Returns:
            A new column for each row of codes, "l7" or "l1_s1" as in a corpus of `semtok.corpus`, with an array
            [frames] of uint16 or uint32 for each clip.

        Raises:
            AudioError: there is no such column, or audio that `encode` refuses.
        """
        if audio not in batch:
            there = sorted(batch)
            raise AudioError(f"there is no column {audio!r} among {there}: name it with fn_kwargs={{'audio': ...}}")
        tokens = self.encode(list(batch[audio])).to("cpu")
        frames = tokens.lengths.tolist()
        columns = zip(self.codebooks.columns, self.codebooks.sizes, tokens.codes.numpy().swapaxes(0, 1), strict=True)
        return {
            name: [row[:end].astype(code_type(size)) for row, end in zip(rows, frames, strict=True)]
            for name, size, rows in columns
        }

    def margins(self, features: Tensor) -> Tensor:
        """How far each frame is from another code: float64 [batch, rows, frames] in [0, 1], on the CPU.

        0 is a tie of the two nearest centroids; see `Quantizer.margins`.

        Args:
            features: of all layers, [batch, layers, frames, dim].
        """
        return self.network.margins(features, self.layers)

    def features(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
        layers: Sequence[Layer] | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        context_seconds: float = CONTEXT_SECONDS,
        finite: bool = False,
        progress: bool = False,
    ) -> Tensor:
        """The continuous features that `encode` quantizes: [batch, layers, frames, dim], 0 past each clip's frames.

        In the encoder's dtype, on `self.device`. Arguments and errors as in `encode`.
        """
        options = EncodingOptions(sample_rate, lengths, layers, chunk_seconds, context_seconds, finite)
        clips = self._clips(self.encoder, audio, options)
        features = [clip.transpose(0, 1) for clip in run_all(clips, progress=progress)]
        return pad_sequence(features, batch_first=True).transpose(1, 2).contiguous()

    def stream(
        self,
        *,
        layers: Sequence[Layer] | None = None,
        sample_rate: int | None = None,
        block_seconds: float = 0.32,
        look_ahead_seconds: float = 0.32,
        context_seconds: float = 4.0,
        statistics: Statistics | None = None,
    ) -> TokenizerStream:
        """Speech -> tokens as it arrives: `with tokenizer.stream() as stream: tokens = stream.push(samples)`.

        Args:
            layers: as in `encode`.
            sample_rate: Hz of the pushed samples, which are resampled; `self.sample_rate` by default.
            block_seconds: of the tokens that are answered at a time. Each block costs a run of the encoder.
            look_ahead_seconds: of speech after its block that a token depends on, at least.
            context_seconds: of speech before its block that a token depends on.
            statistics: by which the input is normalised, such as `tokenizer.encoder.statistics([waveform])` of earlier
                speech. By default the statistics are those of all samples pushed so far; they need about a second of
                speech to settle.

        Raises:
            AudioError: durations or a sample rate out of range.
            LayerError: as in `encode`.
        """
        return TokenizerStream(
            self.network,
            self._select(layers),
            self.fingerprint,
            sample_rate=sample_rate,
            block_seconds=block_seconds,
            look_ahead_seconds=look_ahead_seconds,
            context_seconds=context_seconds,
            statistics=statistics,
        )

    def _clips(self, module: Encoder | CodeEncoder, audio: AudioInput, options: EncodingOptions) -> Clips:
        """The clips that `module` is to run; errors as in `encode`."""
        layers = self._select(options.layers).layers
        windows = module.framing.windows(options.chunk_seconds, options.context_seconds)
        recordings = open_recordings(
            audio,
            sample_rate=options.sample_rate,
            target_sample_rate=self.sample_rate,
            lengths=options.lengths,
            finite=options.finite,
        )
        return Clips(module, recordings, layers, windows)

    def _select(self, layers: Sequence[Layer] | None) -> Codebooks:
        return self.codebooks if layers is None else self.codebooks.select(layers, owner="this tokenizer")

    def _tokens(self, layers: tuple[Layer, ...], codes: Sequence[Tensor]) -> Tokens:
        """Tokens of clips with these codes, int64 [rows, frames] each."""
        if self.config.segmentation is not None:
            for clip in codes:
                if clip.shape[1] >= self.frame_rate and not bool(clip.diff(dim=1).any()):
                    warnings.warn(
                        f"a clip of {clip.shape[1] / self.frame_rate:.1f} s became a single segment: silence, or a "
                        f"tokenizer that segments too coarsely ({self.config.segmentation.name})",
                        stacklevel=3,
                    )
        return Tokens.of(codes, self._select(layers), self.frame_rate, self.fingerprint)

    def embed(self, tokens: Tokens) -> Tensor:
        """The centroids of codes, float32 [batch, layers, frames, dim], summed over the stages of a layer.

        Past an utterance's length they are 0.

        Raises:
            TokensError: no tokens, or tokens of another tokenizer.
            LayerError: tokens of a layer that this tokenizer lacks.
        """
        tokens = take_tokens(tokens, self.codebooks, self.fingerprint, owner="this tokenizer").to(self.device)
        valid = frame_mask(tokens.lengths, tokens.codes.shape[2])
        return self.network.embed(tokens.codes, tokens.codebooks).masked_fill(~valid[:, None, :, None], 0)

    def __repr__(self) -> str:
        model = self.encoder.model
        return (
            f"Tokenizer(layers={self.layers}, codebook_sizes={self.codebook_sizes}, sample_rate={self.sample_rate}, "
            f"hop_length={self.hop_length}, fingerprint={self.fingerprint!r}, encoder={model.config.model_type} of "
            f"{self.encoder.num_layers} layers of {self.encoder.dim}, {self.dtype} on {self.device})"
        )
