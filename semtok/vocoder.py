"""`Vocoder`: tokens of any subset of layers -> speech."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from semtok.audio.io import AudioArray
from semtok.audio.recordings import AudioInput, open_recordings
from semtok.checkpoints.card import Card
from semtok.checkpoints.hub import Repository, resolve
from semtok.checkpoints.native import card_of_folder, write_vocoder
from semtok.checkpoints.pretrained import Pretrained
from semtok.checkpoints.readers import find_reader
from semtok.codebooks.layers import Layer
from semtok.errors import SpeakerError
from semtok.networks.config import VocoderConfig
from semtok.networks.decoding import decode
from semtok.networks.precision import check_compiler, parse_dtype
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.networks.speaker import check_speaker, embed_speakers
from semtok.streaming.vocoder import VocoderStream
from semtok.tokens import Tokens, take_tokens


class Vocoder(Pretrained):
    """Decodes tokens of its own tokenizer, from any subset of layers (Mousavi et al., 2024, section 2.3).

    Attributes:
        config: section of `config.json`.
        network: `semtok.networks.scalable_vocoder.ScalableVocoder`.
    """

    config: VocoderConfig
    network: ScalableVocoder

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
        """Loads a vocoder; arguments and errors as in `Tokenizer.from_pretrained`.

        Waveforms are float32 whatever the dtype of the network.
        """
        source = resolve(name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        return cls.load(source, device=device, dtype=dtype, compile=compile)

    @classmethod
    def load(
        cls,
        repository: Repository,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        compile: bool = False,
    ) -> Vocoder:
        """The vocoder that a repository holds; arguments and errors as in `from_pretrained`."""
        precision = parse_dtype(dtype)
        parts = find_reader(repository).vocoder_parts(repository)
        network = parts.network(repository.name)
        network.to(device or torch.get_default_device(), precision)
        if compile:
            check_compiler(device or torch.get_default_device())
            network.generator.compile_parts()
        return cls(parts.config, network).loaded_from(repository)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves config and weights. A tokenizer in the folder stays.

        Raises:
            CheckpointError: the folder holds another tokenizer, or the weights were rounded by `dtype`.
        """
        self._check_exact()
        write_vocoder(Path(folder), self.config, self.network)

    def card(self, folder: Path, name: str) -> Card:
        """What the model card says of a folder that holds this and perhaps the other part; `name` is its hub id."""
        return card_of_folder(folder, name)

    def __repr__(self) -> str:
        return (
            f"Vocoder(layers={self.layers}, codebook_sizes={self.codebooks.sizes}, "
            f"sample_rate={self.sample_rate}, hop_length={self.hop_length}, fingerprint={self.fingerprint!r}, "
            f"generator={self.config.generator.name}, {self.dtype} on {self.device})"
        )

    def speaker(
        self,
        audio: AudioInput,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> Tensor:
        """Embeddings of the voices in recordings, for the argument `speaker` of `decode`.

        Arguments as in `Tokenizer.encode`. Several seconds of a single speaker give the best embedding.

        Returns:
            float32 [batch, dim] of unit length, on `self.device`. The embedding of silence is zeros, as for no speaker.

        Raises:
            SpeakerError: this vocoder has no speaker encoder.
            AudioError: as in `Tokenizer.encode`.
        """
        encoder = self.network.speaker_encoder
        if encoder is None:
            takes = "takes embeddings that are made elsewhere" if self.config.speaker else "cannot be told whose voice"
            raise SpeakerError(f"this vocoder has no speaker encoder: it {takes}")
        recordings = open_recordings(
            audio, sample_rate=sample_rate, target_sample_rate=self.sample_rate, lengths=lengths
        )
        return embed_speakers(encoder, recordings)

    def decode(self, tokens: Tokens, *, layers: Sequence[Layer] | None = None, speaker: Tensor | None = None) -> Tensor:
        """Tokens -> speech. An utterance sounds the same alone and beside any others.

        Args:
            tokens: of this vocoder's tokenizer, on any device.
            layers: decode only these layers, in any order; by default all layers of the tokens.
            speaker: embedding [dim] for all utterances, or [batch, dim] with zeros for no speaker; none by default.

        Returns:
            float32 [batch, frames x hop_length] in [-1, 1], zero past each utterance's length, on `self.device`.

        Raises:
            TokensError: no tokens, or tokens of another tokenizer.
            LayerError: a layer that the tokens or the vocoder lack, or a layer twice.
            SpeakerError: this vocoder takes no speaker, or an embedding of another shape.
        """
        tokens = take_tokens(tokens, self.codebooks, self.fingerprint, owner="this vocoder", layers=layers)
        tokens = tokens.to(self.device)
        speaker = check_speaker(speaker, self.config.speaker, len(tokens))
        return decode(self.network, tokens.codes, tokens.lengths, tokens.layers, speaker)

    def stream(
        self,
        *,
        layers: Sequence[Layer] | None = None,
        speaker: Tensor | None = None,
        look_ahead_seconds: float | None = None,
    ) -> VocoderStream:
        """Tokens -> speech as they arrive: `with vocoder.stream() as stream: waveform = stream.push(tokens)`.

        Args:
            layers: as in `decode`; by default all layers of the first tokens.
            speaker: as in `decode`, [dim].
            look_ahead_seconds: of tokens after a frame that the stream waits for before it gives the frame's samples,
                rounded to frames. By default the stream waits for all tokens that the samples depend on, some 0.4 s.
                With less, the waveform is only close to the waveform of `decode`.

        Raises:
            TokensError: a look-ahead below 0 or without end.
            SpeakerError: as in `decode`.
        """
        speaker = check_speaker(speaker, self.config.speaker, 1)
        return VocoderStream(
            self.network,
            self.fingerprint,
            layers=layers,
            speaker=speaker,
            look_ahead_seconds=look_ahead_seconds,
            sample_rate=self.sample_rate,
        )
