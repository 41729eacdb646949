"""`Vocoder`: tokens of any subset of layers -> speech."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from semtok.audio.io import AudioArray
from semtok.audio.recordings import AudioInput
from semtok.checkpoints.hub import resolve
from semtok.checkpoints.native import write_vocoder
from semtok.checkpoints.pretrained import Pretrained, check_compiler, parse_dtype
from semtok.checkpoints.readers import find_reader
from semtok.networks.config import VocoderConfig
from semtok.networks.generator import ISTFTGenerator
from semtok.networks.precision import exact_float32
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.networks.speakers import check_speaker, embed_speakers
from semtok.streaming.vocoder import VocoderStream
from semtok.tokens import Tokens

# Longer utterances are decoded in windows of so many frames: few enough to bound memory, and to stay in a CPU's cache,
# and so many that what windows overlap, some 40 frames, costs little.
_WINDOW_FRAMES = 1500
# Bounds memory where many windows and utterances are given at once.
_BATCH_FRAMES = 3000


class Vocoder(Pretrained):
    """Decodes tokens of its own tokenizer, from any subset of layers (Mousavi et al., 2024, section 2.3).

    Attributes:
        config: what `config.json` says.
        network: `semtok.networks.scalable_vocoder.ScalableVocoder`.
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
        compile: bool = False,
    ) -> Vocoder:
        """Loads a vocoder; arguments and errors as of `Tokenizer.from_pretrained`.

        Waveforms are float32 whatever the dtype of the network.
        """
        precision = parse_dtype(dtype)
        source = resolve(name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        parts = find_reader(source).vocoder_parts(source)
        network = parts.network(source.name)
        network.to(device or torch.get_default_device(), precision)
        if compile:
            check_compiler(device or torch.get_default_device())
            generator = network.generator
            # torch.compile leaves the complex numbers of an inverse STFT as they are, and warns.
            for part in generator.blocks if isinstance(generator, ISTFTGenerator) else [generator]:
                part.compile(dynamic=True)
        vocoder = cls(parts.config, network)
        vocoder.source = str(source)
        return vocoder

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves config and weights; what a tokenizer saved there is kept.

        Raises:
            CheckpointError: the folder holds another tokenizer, or the weights were rounded by `dtype`.
        """
        self._check_exact()
        write_vocoder(Path(folder), self.config, self.network)

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

    def speaker(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> Tensor:
        """Embeddings of the voices in recordings, which `decode` can be given.

        Arguments as of `Tokenizer.encode`; some seconds of one speaker each are best.

        Returns:
            float32 [batch, dim] of unit length, on `self.device`; zeros, which stand for no speaker, for silence.

        Raises:
            SpeakerError: this vocoder has no speaker encoder.
            AudioError: as of `Tokenizer.encode`.
        """
        return embed_speakers(self.network, audio, sample_rate, lengths, self.sample_rate)

    def decode(self, tokens: Tokens, *, layers: Sequence[int] | None = None, speaker: Tensor | None = None) -> Tensor:
        """Tokens -> speech. An utterance sounds the same alone and beside any others.

        Args:
            tokens: of this vocoder's tokenizer, on any device.
            layers: use these alone, in any order; by default all that the tokens have.
            speaker: embedding [dim] for all utterances, or [batch, dim] with zeros for no speaker; none by default.

        Returns:
            float32 [batch, frames x hop_length] in [-1, 1], zero past each utterance's length, on `self.device`.

        Raises:
            TokensError: no tokens, or those of another tokenizer.
            LayerError: a layer that the tokens or the vocoder lack, or twice the same.
            SpeakerError: this vocoder takes no speaker, or an embedding of another shape.
        """
        tokens = self._take(tokens, layers)
        speaker = check_speaker(speaker, self.config.speaker, len(tokens))
        # In one order, so that sums over layers are the same in whatever order they were asked for.
        tokens = tokens.select(sorted(tokens.layers))
        positions = [self.layers.index(layer) for layer in tokens.layers]
        codes = tokens.codes.to(self.device)
        waveforms = torch.zeros(len(codes), codes.shape[2] * self.hop_length, dtype=torch.float32, device=self.device)
        # Together only what is equally long: nothing then depends on padding.
        windows = defaultdict(list)
        for row, length in enumerate(tokens.lengths.tolist()):
            for window in _plan_windows(row, length, self.network.generator.receptive_frames):
                windows[window.last - window.first].append(window)
        for frames, equal in sorted(windows.items()):
            size = max(1, _BATCH_FRAMES // frames)
            for start in range(0, len(equal), size):
                self._decode_windows(codes, positions, speaker, equal[start : start + size], waveforms)
        return waveforms

    def _decode_windows(
        self,
        codes: Tensor,
        positions: Sequence[int],
        speaker: Tensor | None,
        windows: Sequence[_Window],
        waveforms: Tensor,
    ) -> None:
        """Writes the samples of equally long windows of codes [batch, rows, frames] to where they belong."""
        hop_length = self.hop_length
        voices = None if speaker is None else speaker[[w.row for w in windows]].to(self.device)
        with torch.inference_mode(), exact_float32(self.device):
            cut = torch.stack([codes[w.row, :, w.first : w.last] for w in windows])
            decoded = self.network(cut, positions, speaker=voices)
        for waveform, window in zip(decoded.float().clamp(-1, 1), windows, strict=True):
            skipped = (window.start - window.first) * hop_length
            start, stop = window.start * hop_length, window.stop * hop_length
            waveforms[window.row, start:stop] = waveform[skipped : skipped + stop - start]

    def stream(
        self,
        *,
        layers: Sequence[int] | None = None,
        speaker: Tensor | None = None,
        look_ahead_seconds: float | None = None,
    ) -> VocoderStream:
        """Tokens -> speech as they arrive: `with vocoder.stream() as stream: waveform = stream.push(tokens)`.

        Args:
            layers: as of `decode`; by default all that the first tokens have.
            speaker: as of `decode`, [dim].
            look_ahead_seconds: how much of the tokens after a frame its samples wait for, rounded to frames. None waits
                for all that they depend on, some 0.4 s; with less the waveform is only close to that of `decode`.

        Raises:
            TokensError: a look-ahead that makes no sense.
            SpeakerError: as of `decode`.
        """
        speaker = check_speaker(speaker, self.config.speaker, 1)
        return VocoderStream(
            lambda tokens: self._take(tokens, layers).to(self.device),
            functools.partial(self.decode, speaker=speaker),
            receptive_frames=self.network.generator.receptive_frames,
            look_ahead_seconds=look_ahead_seconds,
            hop_length=self.hop_length,
            sample_rate=self.sample_rate,
        )


class _Window(NamedTuple):
    """Frames `first` to `last` of an utterance, decoded for its frames `start` to `stop`."""

    row: int
    first: int
    start: int
    stop: int
    last: int


def _plan_windows(row: int, length: int, receptive_frames: tuple[int, int]) -> Iterator[_Window]:
    """Windows of one size, which answer each frame once and show it all that its samples depend on.

    The last one reaches back as far as it must to be as long as the others.
    """
    before, after = receptive_frames
    size = min(length, max(_WINDOW_FRAMES, 2 * (before + after)))
    stop = 0
    while stop < length:
        start = stop
        first = min(max(start - before, 0), length - size)
        last = first + size
        stop = length if last == length else last - after
        yield _Window(row, first, start, stop, last)
