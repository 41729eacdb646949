"""What a tokenizer does with speech: tokens and features of clips, long recordings and streams."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.io import AudioArray
from semtok.audio.lengths import frame_mask
from semtok.audio.recordings import AudioInput, open_recordings
from semtok.checkpoints.config import TokenizerConfig
from semtok.checkpoints.pretrained import Pretrained
from semtok.codebooks.layers import check_layers, row_slices
from semtok.codebooks.quantizer import ResidualQuantizer
from semtok.encoder.batches import Clips, run_all, run_each
from semtok.encoder.encoder import Encoder
from semtok.encoder.statistics import Statistics
from semtok.encoder.windows import CHUNK_SECONDS, CONTEXT_SECONDS
from semtok.errors import AudioError, LayerError
from semtok.networks.precision import exact_float32
from semtok.streaming.tokenizer import TokenizerStream
from semtok.tokens import Tokens


class Encoding(Pretrained):
    """The half of `Tokenizer` that is used; the other half makes, loads and saves it."""

    config: TokenizerConfig
    encoder: Encoder
    _quantizers: dict[int, ResidualQuantizer]

    @property
    def layers(self) -> tuple[int, ...]:
        """Encoder layers that have a codebook here; 1 is the output of the first transformer layer."""
        return tuple(self._quantizers)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each row of codes: of each of `layers`, or of each of its residual stages."""
        return tuple(size for quantizer in self._quantizers.values() for size in quantizer.codebook_sizes)

    @property
    def stages(self) -> tuple[int, ...]:
        """Residual stages of each of `layers`: rows that it has in the codes."""
        return tuple(len(quantizer.codebook_sizes) for quantizer in self._quantizers.values())

    def centroids(self, layer: int, stage: int = 1) -> Tensor:
        """Centroids of one layer, float32 [codebook_size, dim]; of its first residual stage or a later one."""
        check_layers([layer], self.layers, owner="this tokenizer")
        stages = self._quantizers[layer].stages
        if not 1 <= stage <= len(stages):
            raise LayerError(f"layer {layer} has {len(stages)} stages, numbered from 1; asked for stage {stage}")
        return stages[stage - 1].centroids

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
        clips = self._clips(audio, sample_rate, lengths, layers, (chunk_seconds, context_seconds), self._codes)
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
        clips = self._clips(audio, sample_rate, lengths, layers, (chunk_seconds, context_seconds), self._codes)
        return (
            (number, outcome if isinstance(outcome, AudioError) else self._tokens(clips.layers, [outcome]))
            for number, outcome in run_each(clips)
        )

    def margins(self, features: Tensor) -> Tensor:
        """How decided the tokens of features are, all layers [batch, layers, frames, dim]: [batch, rows, frames].

        From 0, a tie of the two nearest centroids, to 1: see `semtok.codebooks.quantizer.Quantizer.margins`.
        """
        with exact_float32(self.device):
            found = [
                quantizer.margins(layer)
                for quantizer, layer in zip(self._quantizers.values(), features.unbind(1), strict=True)
            ]
        return torch.cat(found, dim=2).transpose(1, 2)

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

        In the encoder's dtype, on `self.device`. Arguments and errors as of `encode`.
        """
        windows = chunk_seconds, context_seconds
        clips = self._clips(audio, sample_rate, lengths, layers, windows, lambda _, found: torch.stack(found, dim=2))
        return pad_sequence(run_all(clips, progress=progress), batch_first=True).transpose(1, 2).contiguous()

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
            layers: as of `encode`.
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
        chosen = self.layers if layers is None else check_layers(layers, self.layers, owner="this tokenizer")
        return TokenizerStream(
            self.encoder,
            chosen,
            functools.partial(self._quantize, chosen),
            sample_rate=sample_rate,
            block_seconds=block_seconds,
            look_ahead_seconds=look_ahead_seconds,
            context_seconds=context_seconds,
            statistics=statistics,
        )

    def _clips(
        self,
        audio: AudioInput,
        sample_rate: int | None,
        lengths: Sequence[int] | AudioArray | None,
        layers: Sequence[int] | None,
        windows: tuple[float, float],
        finish: Callable[[tuple[int, ...], list[Tensor]], Tensor],
    ) -> Clips:
        """The arguments of `encode`, checked."""
        chosen = self.layers if layers is None else check_layers(layers, self.layers, owner="this tokenizer")
        recordings = open_recordings(
            audio, sample_rate=sample_rate, target_sample_rate=self.sample_rate, lengths=lengths
        )
        return Clips(self.encoder, recordings, chosen, functools.partial(finish, chosen), *windows)

    def _codes(self, layers: tuple[int, ...], features: Sequence[Tensor]) -> Tensor:
        """Features [batch, frames, dim] of each layer -> int32 [batch, frames, rows], as many of them may wait."""
        with exact_float32(self.device):
            codes = [self._quantizers[layer](found) for layer, found in zip(layers, features, strict=True)]
        return torch.cat(codes, dim=2).int()

    def _tokens(self, layers: tuple[int, ...], codes: Sequence[Tensor]) -> Tokens:
        """Tokens of clips with these codes, int32 [frames, rows] each."""
        frames = torch.tensor([len(clip) for clip in codes], device=self.device)
        padded = pad_sequence(list(codes), batch_first=True, padding_value=-1).transpose(1, 2)
        quantizers = [self._quantizers[layer] for layer in layers]
        sizes = tuple(size for quantizer in quantizers for size in quantizer.codebook_sizes)
        stages = tuple(len(quantizer.stages) for quantizer in quantizers)
        return Tokens(
            padded.to(torch.int64, memory_format=torch.contiguous_format),
            frames,
            layers,
            self.frame_rate,
            sizes,
            self.fingerprint,
            stages,
        )

    def _quantize(self, layers: tuple[int, ...], features: Sequence[Tensor]) -> Tokens:
        """Features [batch, frames, dim] of each layer, all frames valid."""
        return self._tokens(layers, list(self._codes(layers, features)))

    def embed(self, tokens: Tokens) -> Tensor:
        """The centroids that tokens stand for: float32 [batch, layers, frames, dim], 0 past each utterance's length.

        Raises:
            TokensError: no tokens, or those of another tokenizer.
            LayerError: this tokenizer lacks a layer of theirs.
        """
        tokens = self._take(tokens)
        codes = tokens.codes.to(self.device)
        valid = frame_mask(tokens.lengths.to(self.device), codes.shape[2])
        vectors = [
            self._quantizers[layer].embed(codes[:, rows].clamp(min=0).transpose(1, 2))
            for layer, rows in zip(tokens.layers, row_slices(tokens.stages), strict=True)
        ]
        return torch.stack(vectors, dim=1).masked_fill(~valid[:, None, :, None], 0)
