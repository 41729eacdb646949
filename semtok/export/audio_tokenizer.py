"""semtok as an audio tokenizer of transformers, for code that was written for DAC, Mimi and their like.

Importing this module registers it: a folder of `SemtokAudioTokenizer.save_pretrained` then opens by
`AutoModelForAudioTokenization.from_pretrained`. It is a checkpoint of semtok with one entry more in its `config.json`,
so that `Tokenizer.from_pretrained` opens it too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForAudioTokenization, EncodecFeatureExtractor, PreTrainedConfig
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.utils import ModelOutput

from semtok.checkpoints.config import TokenizerConfig, read_config
from semtok.checkpoints.native import mark_for_transformers
from semtok.codebooks.layers import Layer
from semtok.errors import AudioError, TokensError
from semtok.tokenizer import Tokenizer
from semtok.tokens import Tokens
from semtok.vocoder import Vocoder

_LOADING = ("revision", "cache_dir", "token", "local_files_only", "dtype")


class SemtokConfig(PreTrainedConfig):  # type: ignore[misc]
    """What generic code asks of an audio tokenizer's config.

    Attributes:
        sampling_rate: of `input_values` and `audio_values`, Hz.
        hop_length: samples a frame.
        frame_rate: frames a second.
        codebook_sizes: of each row of codes.
        num_quantizers: how many rows there are.
        layers: of the encoder, in the order of their rows.
    """

    model_type = "semtok"

    def __init__(self, tokenizer: dict[str, Any] | None = None, **entries: Any) -> None:
        """From the entries of a checkpoint's `config.json`, of which `tokenizer` is the section of that name.

        Raises:
            ConfigError: the section has unknown, missing or ill-typed entries.
        """
        super().__init__(**entries)
        if tokenizer is not None:
            self.tokenizer = tokenizer
            self._describe(read_config(tokenizer, TokenizerConfig, "tokenizer"))

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> SemtokConfig:
        """That of a tokenizer."""
        config = cls()
        config._describe(tokenizer)
        return config

    def _describe(self, tokenizer: Tokenizer | TokenizerConfig) -> None:
        sizes = tokenizer.codebooks.sizes
        self.sampling_rate, self.hop_length = tokenizer.sample_rate, tokenizer.hop_length
        self.frame_rate = tokenizer.sample_rate / tokenizer.hop_length
        self.codebook_sizes, self.layers = list(sizes), list(tokenizer.layers)
        self.num_quantizers = len(sizes)


@dataclass
class SemtokEncoderOutput(ModelOutput):  # type: ignore[misc]
    """`audio_codes` int64 [batch, rows, frames], -1 past a clip's frames; `audio_codes_mask` bool [batch, frames]."""

    audio_codes: Tensor | None = None
    audio_codes_mask: Tensor | None = None


@dataclass
class SemtokDecoderOutput(ModelOutput):  # type: ignore[misc]
    """`audio_values` float32 [batch, samples] in [-1, 1], zero past each clip's end."""

    audio_values: Tensor | None = None


@dataclass
class SemtokOutput(ModelOutput):  # type: ignore[misc]
    """Those of encoder and decoder."""

    audio_codes: Tensor | None = None
    audio_values: Tensor | None = None


class SemtokAudioTokenizer(PreTrainedAudioTokenizerBase):  # type: ignore[misc]
    """A tokenizer and its vocoder behind the methods of transformers' audio tokenizers.

    Args:
        tokenizer, vocoder: of one checkpoint, with the same layers; their networks become modules of this one.

    Raises:
        TokensError: they are of two checkpoints, of other layers, or of two sample rates.
    """

    config_class = SemtokConfig
    main_input_name = "input_values"
    input_modalities = "audio"

    def __init__(self, tokenizer: Tokenizer, vocoder: Vocoder) -> None:
        if tokenizer.fingerprint != vocoder.fingerprint or set(tokenizer.layers) != set(vocoder.layers):
            raise TokensError(
                f"tokenizer {tokenizer.fingerprint} with layers {tokenizer.layers} and a vocoder of "
                f"{vocoder.fingerprint} with layers {vocoder.layers} do not belong together: load both from one "
                "checkpoint"
            )
        if tokenizer.sample_rate != vocoder.sample_rate:
            raise TokensError(
                f"transformers' audio tokenizers have one sampling rate: this tokenizer hears {tokenizer.sample_rate} "
                f"Hz and this vocoder speaks at {vocoder.sample_rate} Hz; use semtok's own classes"
            )
        super().__init__(SemtokConfig.of(tokenizer))
        self.tokenizer, self.vocoder = tokenizer, vocoder
        self.encoder_network, self.decoder_network = tokenizer.network, vocoder.network
        self.eval()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **options: Any
    ) -> SemtokAudioTokenizer:
        """Loads a checkpoint of semtok: bundled name, folder or hub id; errors as in `Tokenizer.from_pretrained`.

        Of transformers' options `revision`, `cache_dir`, `token`, `local_files_only` and `dtype`, also under its older
        name `torch_dtype`, count.
        """
        options = {"dtype": options.get("torch_dtype")} | options  # the older of two names
        loading = {name: options[name] for name in _LOADING if options.get(name) not in (None, "auto")}
        name = pretrained_model_name_or_path
        tokenizer, vocoder = Tokenizer.from_pretrained(name, **loading), Vocoder.from_pretrained(name, **loading)
        model = cls(tokenizer, vocoder)
        model.name_or_path = str(name)
        return model

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Saves a checkpoint of semtok that `AutoModelForAudioTokenization` opens; transformers' options do nothing.

        `AutoFeatureExtractor` opens it too: EnCodec's, which pads a list of waveforms for `encode`.
        """
        self.tokenizer.save_pretrained(save_directory)
        self.vocoder.save_pretrained(save_directory)
        EncodecFeatureExtractor(feature_size=1, sampling_rate=self.config.sampling_rate).save_pretrained(save_directory)
        mark_for_transformers(Path(save_directory), SemtokConfig.model_type)

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> SemtokEncoderOutput | tuple[Tensor, Tensor]:
        """Waveforms [batch, samples] or [batch, 1, samples] at `config.sampling_rate` -> codes.

        Args:
            padding_mask: [batch, samples] or [batch, 1, samples], 1 for samples and 0 for the padding before or after
                them. The codes of a clip begin with its first sample, on whichever side its padding is.
            num_quantizers: only the layers whose rows are among the first so many.
            return_dict: False for a tuple.

        Raises:
            AudioError: several channels; a mask of another shape, or with padding inside a clip; a clip that is
                shorter than a frame.
        """
        waveforms = _one_channel(input_values)
        if padding_mask is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1])
        else:
            waveforms, lengths = _start_at_zero(waveforms, _one_channel(padding_mask).bool())
        tokens = self.tokenizer.encode(waveforms, lengths=lengths, layers=self._layers(num_quantizers))
        frames = torch.arange(tokens.codes.shape[2], device=tokens.codes.device)
        output = SemtokEncoderOutput(tokens.codes, frames < tokens.lengths[:, None])
        return output if self._as_dict(return_dict) else output.to_tuple()

    def decode(
        self,
        audio_codes: Tensor,
        padding_mask: Tensor | None = None,
        return_dict: bool | None = None,
        *,
        speaker: Tensor | None = None,
    ) -> SemtokDecoderOutput | tuple[Tensor]:
        """Codes [batch, rows, frames] -> waveforms.

        Args:
            audio_codes: of the first rows, or all; -1 past a clip's end.
            padding_mask: as `encode` had it: waveforms are then cut to its samples, and begin at sample 0.
            return_dict: False for a tuple.
            speaker: as in `Vocoder.decode`.

        Raises:
            TokensError: codes of another shape, or out of range.
        """
        codebooks = self.tokenizer.codebooks.select(self._layers(audio_codes.shape[1]), owner="the codes")
        lengths = (audio_codes[:, 0] >= 0).sum(dim=1)
        tokens = Tokens(
            audio_codes,
            lengths,
            frame_rate=self.config.frame_rate,
            fingerprint=self.tokenizer.fingerprint,
            **codebooks.entries,
        )
        audio = self.vocoder.decode(tokens, speaker=speaker)
        output = SemtokDecoderOutput(audio if padding_mask is None else audio[:, : padding_mask.shape[-1]])
        return output if self._as_dict(return_dict) else output.to_tuple()

    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> SemtokOutput | tuple[Tensor, Tensor]:
        """`encode` and then `decode`, as long as the input at most."""
        codes = self.encode(input_values, padding_mask, num_quantizers, return_dict=False)[0]
        (audio,) = self.decode(codes, return_dict=False)
        output = SemtokOutput(codes, audio[:, : input_values.shape[-1]])
        return output if self._as_dict(return_dict) else output.to_tuple()

    def _layers(self, rows: int | None) -> tuple[Layer, ...]:
        """The layers whose rows, all stages, are the first so many."""
        every = self.tokenizer.codebooks.rows
        if rows is None:
            return tuple(every)
        chosen = tuple(layer for layer, of_layer in every.items() if of_layer.stop <= rows)
        if not chosen or every[chosen[-1]].stop != rows:
            ends = ", ".join(str(of_layer.stop) for of_layer in every.values())
            raise TokensError(f"{rows} rows of codes end within a layer: whole layers end after {ends}")
        return chosen

    def _as_dict(self, return_dict: bool | None) -> bool:
        return bool(self.config.return_dict if return_dict is None else return_dict)


def _one_channel(audio: Tensor) -> Tensor:
    """[batch, samples] of that or [batch, 1, samples]."""
    if audio.ndim == 3 and audio.shape[1] == 1:
        audio = audio[:, 0]
    if audio.ndim != 2:
        raise AudioError(f"expected [batch, samples] or [batch, 1, samples], got {list(audio.shape)}")
    return audio


def _start_at_zero(waveforms: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Clips [batch, samples] without the padding before them, and their lengths in samples."""
    if mask.shape != waveforms.shape:
        raise AudioError(f"a padding mask of {list(mask.shape)} for waveforms of {list(waveforms.shape)}")
    lengths, starts = mask.sum(dim=1), mask.int().argmax(dim=1)
    samples = torch.arange(mask.shape[1], device=mask.device)
    inside = (samples >= starts[:, None]) & (samples < (starts + lengths)[:, None])
    if not mask.equal(inside):
        clip = int((mask != inside).any(dim=1).nonzero()[0])
        raise AudioError(f"the padding mask of clip {clip} has padding inside the clip: expected it before or after")
    shifted = waveforms.gather(1, (samples + starts[:, None]) % mask.shape[1])
    return shifted, lengths.cpu()


AutoConfig.register(SemtokConfig.model_type, SemtokConfig, exist_ok=True)
AutoModelForAudioTokenization.register(SemtokConfig, SemtokAudioTokenizer, exist_ok=True)
