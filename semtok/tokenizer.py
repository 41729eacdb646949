"""`Tokenizer`: speech -> tokens of the chosen layers of a self-supervised encoder."""

from __future__ import annotations

import dataclasses
import os
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
from semtok.codebooks.codebooks import Codebooks, check_layers, code_type
from semtok.encoder.batches import Clips, run_all, run_each
from semtok.encoder.code_encoder import CodeEncoder
from semtok.encoder.encoder import Encoder
from semtok.encoder.statistics import Statistics
from semtok.errors import AudioError, CheckpointError, LayerError
from semtok.networks.precision import check_compiler, parse_dtype
from semtok.streaming.tokenizer import TokenizerStream
from semtok.tokens import Tokens, take_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Codes: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


class Tokenizer(Pretrained):
    """A frozen speech encoder and a k-means codebook for each chosen layer (Mousavi et al., 2024, section 2.1).

    Made by `from_pretrained`, or from a model and its centroids by `from_centroids`.

    Attributes:
        config: what `config.json` says of the layers loaded, in their order.
        encoder: `semtok.encoder.encoder.Encoder`.
        network: encoder and codebooks together, `semtok.encoder.code_encoder.CodeEncoder`.
    """

    config: TokenizerConfig
    network: CodeEncoder

    def __init__(self, config: TokenizerConfig, encoder: Encoder, centroids: Mapping[int, Sequence[Tensor]]) -> None:
        """Centroids [codebook_size, dim] of each stage of layers of the config, in the order `encode` is to answer."""
        measures = (encoder.dim, encoder.sample_rate, encoder.hop_length)
        if measures != (expected := (config.dim, config.sample_rate, config.hop_length)):
            raise CheckpointError(f"(dim, sample_rate, hop_length) of the encoder are {measures}, expected {expected}")
        codebooks = config.codebooks.select(centroids, owner="the config")
        for layer, sizes in codebooks.items():
            wanted = [[size, config.dim] for size in sizes]
            if (shapes := [list(points.shape) for points in centroids[layer]]) != wanted:
                raise CheckpointError(f"centroids of layer {layer} must have shapes {wanted}, got {shapes}")
        super().__init__(dataclasses.replace(config, codebooks=codebooks), CodeEncoder(encoder, centroids))
        self.encoder = encoder

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
        source = resolve(name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        return cls.load(source, layers=layers, device=device, dtype=dtype, compile=compile, encoder=encoder)

    @classmethod
    def load(
        cls,
        repository: Repository,
        *,
        layers: Sequence[int] | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        compile: bool = False,
        encoder: str | None = None,
    ) -> Tokenizer:
        """The tokenizer that a repository holds; arguments and errors as in `from_pretrained`."""
        precision = parse_dtype(dtype)
        parts = find_reader(repository).tokenizer_parts(repository, layers=layers, encoder=encoder)
        config, model = parts.config, read_encoder(parts.encoder, max(parts.centroids))
        wrapped = Encoder(model, normalize=config.normalize, normalize_epsilon=config.normalize_epsilon)
        wrapped.to(device or torch.get_default_device(), precision)
        if compile:
            check_compiler(device or torch.get_default_device())
            wrapped.compile_layers()
        return cls(config, wrapped, parts.centroids).loaded_from(repository)

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
        write_tokenizer(Path(folder), section, self.network.centroids(), self.encoder.model)

    def card(self, folder: Path, name: str) -> Card:
        """What the model card says of a folder that holds this and perhaps the other part; `name` is its hub id."""
        return card_of_folder(folder, name)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each row of codes: of each of `layers`, or of each of its residual stages."""
        return self.codebooks.sizes

    @property
    def stages(self) -> tuple[int, ...]:
        """Residual stages of each of `layers`: rows that it has in the codes."""
        return self.codebooks.stages

    def centroids(self, layer: int, stage: int = 1) -> Tensor:
        """A copy of a layer's centroids, float32 [codebook_size, dim]; of its first residual stage or a later one."""
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
        layers: Sequence[int] | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        context_seconds: float = CONTEXT_SECONDS,
        progress: bool = False,
    ) -> Tokens:
        """Speech -> tokens. A clip gets the same tokens alone and beside any others.

        Args:
            audio: a path, a list of paths, a numpy array or torch tensor [samples] or [batch, samples], or a list of
                1-D arrays of any lengths; floating point in [-1, 1]. [2, samples] could be stereo and [6, samples] the
                channels of one recording: they are taken as a batch only together with `lengths`. Wherever a path is
                taken, so are the bytes of an audio file, a file open in binary mode, and a row of a column of audio
                of `datasets`.
            sample_rate: Hz of the arrays, which are resampled if it is not `self.sample_rate`; None says they are at
                `self.sample_rate`. Files say their own rate.
            lengths: samples of each row of a [batch, samples] array.
            layers: which layers, in the order in which the answer has them; all by default.
            chunk_seconds, context_seconds: a clip longer than a chunk and twice the context goes through the encoder in
                windows, each of which gives a chunk of the answer and sees the context on either side of it.
            progress: show a bar on stderr.

        Returns:
            Tokens with codes int64 [batch, layers, frames], -1 past each clip's length, on `self.device`. A clip of n
            samples has floor((n - 400) / 320) + 1 frames with the usual front end.

        Raises:
            AudioError: audio that cannot be read or is no speech waveform; clips shorter than one frame.
            LayerError: a layer that this tokenizer lacks, or twice the same.
        """
        clips = self._clips(self.network, audio, sample_rate, lengths, layers, chunk_seconds, context_seconds)
        return self._tokens(clips.layers, run_all(clips, progress=progress))

    def encode_each(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
        layers: Sequence[int] | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        context_seconds: float = CONTEXT_SECONDS,
    ) -> Iterator[tuple[int, Tokens | AudioError]]:
        """As `encode`, but clip by clip as they are done: for more clips than memory holds, or some that are broken.

        Returns:
            An iterator over all clips, long ones first: the number of a clip in `audio` and its tokens, or the error
            if it cannot be read or is shorter than one frame.

        Raises:
            AudioError, LayerError: as `encode`, for what is wrong with the input as a whole.
        """
        clips = self._clips(self.network, audio, sample_rate, lengths, layers, chunk_seconds, context_seconds)
        return (
            (number, outcome if isinstance(outcome, AudioError) else self._tokens(clips.layers, [outcome]))
            for number, outcome in run_each(clips)
        )

    def encode_batch(self, batch: Mapping[str, Sequence[AudioClip]], *, audio: str = "audio") -> dict[str, list[Codes]]:
        """As `encode`, for `map` of Hugging Face's `datasets`: `dataset.map(tokenizer.encode_batch, batched=True)`.

        Args:
            batch: columns of some rows; the column of audio may be decoded or not (`Audio(decode=False)` is faster).
            audio: its name; `fn_kwargs={"audio": "speech"}` passes another one through `map`.

        Returns:
            New columns, as in a corpus of `semtok.corpus`: of each row of codes one, "l7" or "l1_s1", with an array
            [frames] for each clip, uint16 or uint32.

        Raises:
            AudioError: no such column, or as `encode`.
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
        """How decided the tokens of features are, all layers [batch, layers, frames, dim]: [batch, rows, frames].

        From 0, a tie of the two nearest centroids, to 1; on the CPU. See `Quantizer.margins`.
        """
        return self.network.margins(features, self.layers)

    def features(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
        layers: Sequence[int] | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        context_seconds: float = CONTEXT_SECONDS,
        progress: bool = False,
    ) -> Tensor:
        """The continuous features that `encode` quantizes: [batch, layers, frames, dim], 0 past each clip's frames.

        In the encoder's dtype, on `self.device`. Arguments and errors as in `encode`.
        """
        clips = self._clips(self.encoder, audio, sample_rate, lengths, layers, chunk_seconds, context_seconds)
        features = [clip.transpose(0, 1) for clip in run_all(clips, progress=progress)]
        return pad_sequence(features, batch_first=True).transpose(1, 2).contiguous()

    def stream(
        self,
        *,
        layers: Sequence[int] | None = None,
        sample_rate: int | None = None,
        block_seconds: float = 0.32,
        look_ahead_seconds: float = 0.32,
        context_seconds: float = 4.0,
        statistics: Statistics | None = None,
    ) -> TokenizerStream:
        """Speech -> tokens as it arrives: `with tokenizer.stream() as stream: tokens = stream.push(samples)`.

        Args:
            layers: as in `encode`.
            sample_rate: Hz of what is pushed, resampled on the way; `self.sample_rate` by default.
            block_seconds: how much is answered at a time. Each block costs a run of the encoder.
            look_ahead_seconds: what a token sees of the time after its block, at least.
            context_seconds: what it sees of the time before its block.
            statistics: by which the input is normalised, such as `tokenizer.encoder.statistics([waveform])` of earlier
                speech; by default those of all that has arrived, which take a second or so to settle.

        Raises:
            AudioError: times or a sample rate that make no sense.
            LayerError: as `encode`.
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

    def _clips(
        self,
        module: Encoder | CodeEncoder,
        audio: AudioInput,
        sample_rate: int | None,
        lengths: Sequence[int] | AudioArray | None,
        layers: Sequence[int] | None,
        chunk_seconds: float,
        context_seconds: float,
    ) -> Clips:
        """The arguments of `encode`, checked."""
        chosen, windows = self._select(layers).layers, module.framing.windows(chunk_seconds, context_seconds)
        recordings = open_recordings(
            audio, sample_rate=sample_rate, target_sample_rate=self.sample_rate, lengths=lengths
        )
        return Clips(module, recordings, chosen, windows)

    def _select(self, layers: Sequence[int] | None) -> Codebooks:
        return self.codebooks if layers is None else self.codebooks.select(layers, owner="this tokenizer")

    def _tokens(self, layers: tuple[int, ...], codes: Sequence[Tensor]) -> Tokens:
        """Tokens of clips with these codes, int64 [rows, frames] each."""
        return Tokens.of(codes, self._select(layers), self.frame_rate, self.fingerprint)

    def embed(self, tokens: Tokens) -> Tensor:
        """The centroids that tokens stand for: float32 [batch, layers, frames, dim], 0 past each utterance's length.

        Raises:
            TokensError: no tokens, or those of another tokenizer.
            LayerError: this tokenizer lacks a layer of theirs.
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
