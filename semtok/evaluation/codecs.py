"""Audio tokenizers of transformers (DAC, EnCodec, Mimi, X-codec), measured as semtok's own are.

Their codebooks are residual: the first few rows of codes are those of the same codec at a lower bitrate. Here all rows
of a codec are stages of one layer, number 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semtok.audio.recordings import open_recordings
from semtok.checkpoints.config import CONFIG
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer
from semtok.errors import CheckpointError, LayerError, SpeakerError
from semtok.evaluation.alignments import Seconds
from semtok.evaluation.models import fetch_files, find_model, load_model
from semtok.networks.precision import exact_float32
from semtok.tokens import Tokens, take_tokens

LAYER = 0
"""The layer that stands for all of a codec."""


@dataclass(frozen=True)
class Family:
    """How a type of model is called; waveforms are [1, 1, samples], codes [1, rows, frames].

    Args:
        encode: model and waveform -> codes of all codebooks.
        decode: model and codes -> waveform, in any shape that ends with samples.
        embed: model and codes -> what the codes stand for, [1, dim, frames].
    """

    encode: Callable[[Any, Tensor], Tensor]
    decode: Callable[[Any, Tensor], Tensor]
    embed: Callable[[Any, Tensor], Tensor]


def _widest(model: Any, waveform: Tensor) -> Tensor:
    codes: Tensor = model.encode(waveform, bandwidth=model.config.target_bandwidths[-1]).audio_codes
    return codes


def _plain(model: Any, waveform: Tensor) -> Tensor:
    codes: Tensor = model.encode(waveform).audio_codes
    return codes


def _decode(model: Any, codes: Tensor) -> Tensor:
    audio: Tensor = model.decode(audio_codes=codes).audio_values
    return audio


FAMILIES: Mapping[str, Family] = {
    "dac": Family(_plain, _decode, lambda model, codes: model.quantizer.from_codes(codes)[0]),
    "encodec": Family(
        # it gives a list of chunks, of which a mono model has one
        lambda model, waveform: _widest(model, waveform)[0],
        lambda model, codes: model.decode(codes[None], [None]).audio_values,
        lambda model, codes: model.quantizer.decode(codes.transpose(0, 1)),
    ),
    "mimi": Family(_plain, _decode, lambda model, codes: model.quantizer.decode(codes)),
    "xcodec": Family(_widest, _decode, lambda model, codes: model.quantizer.decode(codes.transpose(0, 1))),
}
"""By `model_type` of transformers. A new one is a line here."""


class Codec:
    """An audio tokenizer of transformers as a tokenizer and a vocoder in one.

    Attributes:
        name: hub id and commit, or folder.
        codebooks: of the rows used, all stages of layer 0.
    """

    layers = (LAYER,)

    def __init__(self, name: str, model: Any, fingerprint: str, rows: int | None = None) -> None:
        """The first `rows` codebooks of a model in eval mode, all by default.

        Raises:
            CheckpointError: a model for several channels.
            LayerError: more rows than the model has codebooks, or none.
        """
        config = model.config
        if getattr(config, "audio_channels", 1) != 1:
            raise CheckpointError(f"{name} codes {config.audio_channels} channels: expected a model for one")
        every = int(getattr(config, "n_codebooks", None) or config.num_quantizers)
        self.rows = every if rows is None else rows
        if not 1 <= self.rows <= every:
            raise LayerError(f"{name} has {every} codebooks, asked for the first {self.rows}: expected 1 ... {every}")
        self.name, self.fingerprint = name, fingerprint
        self._model, self._family = model, FAMILIES[config.model_type]
        self.sample_rate = int(getattr(config, "sampling_rate", None) or config.sample_rate)
        self.hop_length = int(getattr(config, "frame_size", None) or config.hop_length)
        self.codebooks = Codebooks({LAYER: (config.codebook_size,) * self.rows})
        self._every = every

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length

    def at_bitrate(self, bitrate: float) -> Codec:
        """The same codec with as many codebooks as come nearest to so many bit/s."""
        of_row = self.bitrate / self.rows
        rows = min(range(1, self._every + 1), key=lambda count: abs(count * of_row - bitrate))
        return Codec(self.name, self._model, self.fingerprint, rows)

    @property
    def bitrate(self) -> float:
        """Bit/s of plain codes."""
        return self.frame_rate * self.codebooks.bits

    @torch.inference_mode()
    def encode(self, audio: Any, *, sample_rate: int | None = None, layers: Sequence[Layer] | None = None) -> Tokens:
        """Speech -> tokens, one clip at a time, as a batch's padding changes codes; arguments as of `Tokenizer.encode`.

        Raises:
            AudioError: audio that cannot be read or is no speech waveform.
        """
        recordings = open_recordings(audio, sample_rate=sample_rate, target_sample_rate=self.sample_rate)
        device = self._model.device
        codes = []
        for recording in recordings:
            waveform = recording.load()[None, None].to(device)
            with exact_float32(device):
                codes.append(self._family.encode(self._model, waveform)[0, : self.rows].long())
        return Tokens.of(codes, self.codebooks, self.frame_rate, self.fingerprint)

    @torch.inference_mode()
    def decode(self, tokens: Tokens, *, layers: Sequence[Layer] | None = None, speaker: Tensor | None = None) -> Tensor:
        """Tokens -> speech, float32 [batch, samples], zero past each clip's end; errors as of `Vocoder.decode`."""
        if speaker is not None:
            raise SpeakerError(f"{self.name} takes no speaker")
        tokens = take_tokens(tokens, self.codebooks, self.fingerprint, owner=self.name, layers=layers)
        waveforms = []
        for codes, length in zip(tokens.codes.to(self._model.device), tokens.lengths.tolist(), strict=True):
            with exact_float32(codes.device):
                waveforms.append(self._family.decode(self._model, codes[None, :, :length]).float().reshape(-1))
        return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).clamp(-1, 1)

    def speaker(self, audio: Any, *, sample_rate: int | None = None) -> Tensor:
        """A codec is told no voice.

        Raises:
            SpeakerError: always.
        """
        raise SpeakerError(f"{self.name} has no speaker encoder")

    @torch.inference_mode()
    def embed(self, codes: Tensor) -> Tensor:
        """Codes [rows, frames] -> what the decoder takes them for, float32 [frames, dim]."""
        return self._family.embed(self._model, codes[None].to(self._model.device))[0].float().T

    def times(self, frames: int) -> Seconds:
        """The centre of each frame, in seconds."""
        return (np.arange(frames, dtype=np.float64) + 0.5) / self.frame_rate


def load_codec(
    name: str, *, rows: int | None = None, device: str | torch.device = "cpu", local_files_only: bool = False
) -> Codec:
    """A codec from a folder, or a hub id with the commit behind an @ if it is to be that one.

    Args:
        rows: how many of its codebooks to use, the first ones; all by default.
        device: where it runs.
        local_files_only: never ask the hub.

    Raises:
        CheckpointError: files are missing or corrupt, or of a model of another kind.
        LayerError: more rows than it has codebooks.
    """
    from transformers import AutoModel

    repository = find_model(name, local_files_only=local_files_only)
    kind = repository.read_json(CONFIG).get("model_type")
    if kind not in FAMILIES:
        raise CheckpointError(
            f"{name} is a model of type {kind!r}: the audio tokenizers known are {', '.join(FAMILIES)}"
        )
    folder = fetch_files(repository, [])
    model: Any = load_model(AutoModel, folder, torch.float32, device)
    digest = hashlib.sha256(f"{kind} {repository}".encode())
    for parameter in model.quantizer.state_dict().values():
        digest.update(parameter.cpu().numpy().tobytes())
    return Codec(str(repository), model, digest.hexdigest()[:16], rows)
