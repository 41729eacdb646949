"""Text -> speech: tokens of several layers are predicted from characters, in a voice, and decoded by the vocoder.

Published models write 50 frames a second one after the other and learn to read by attention, which an hour or two of
speech does not teach. Here each character gets a number of frames, learnt from the alignment of a recogniser, and a
Conformer predicts all frames at once (after FastSpeech, Ren et al., 2019).
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer, in_order
from semtok.downstream.config import DownstreamConfig
from semtok.downstream.conformer import Conformer, ConformerConfig
from semtok.downstream.enhancer import CodePredictor, TokenGenerator
from semtok.downstream.model import Head, Speech
from semtok.downstream.pooling import Statistics, StatisticsConfig
from semtok.downstream.spoken import spoken_form
from semtok.downstream.text import TextCodec, TextConfig
from semtok.errors import ConfigError, SpeakerError, TextError
from semtok.tokens import Tokens

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")
# Frames that a character can last, at 50 a second.
_MOST_FRAMES = 100


@dataclass(frozen=True)
class SynthesizerConfig:
    """Conformers over characters and over frames, the characters, and names of speakers whose voices are kept.

    `layers` are those whose tokens are made, all by default. Those that tell what is said are easier to foretell from a
    text than those that tell how it sounds, stage upon stage. In `language`, such as "en", numbers, abbreviations and
    signs are read aloud; without one a text must be words alone. `default_speaker` speaks where none is asked for, by
    default the first.
    """

    encoder: ConformerConfig
    decoder: ConformerConfig
    layers: tuple[Layer, ...] | None = None
    text: TextConfig | None = None
    language: str | None = None
    speakers: tuple[str, ...] = ()
    default_speaker: str | None = None


class SynthesizerHead(Head):
    """Fused vectors of a reference -> its voice [batch, dim]; characters and a voice -> durations, and codes.

    Attributes:
        voices: float32 [speakers, dim], those of the speakers of the config.
    """

    voices: Tensor

    def __init__(self, config: SynthesizerConfig, dim: int, units: int, codebooks: Codebooks) -> None:
        super().__init__()
        width, frames_width = config.encoder.dim, config.decoder.dim
        self.pooling = Statistics(StatisticsConfig(), dim)
        self.voice = nn.Sequential(nn.Linear(self.pooling.dim, width), nn.LayerNorm(width))
        self.embedding = nn.Embedding(units, width)
        self.encoder = Conformer(config.encoder)
        self.duration = nn.Linear(width, 1)
        self.expansion = nn.Linear(width, frames_width)
        self.place = nn.Linear(2, frames_width)
        self.decoder = Conformer(config.decoder)
        self.predict = CodePredictor(frames_width, codebooks)
        self.register_buffer("voices", torch.zeros(len(config.speakers), width))

    def forward(self, fused: Tensor, lengths: Tensor) -> Tensor:
        voice: Tensor = self.voice(self.pooling(fused, lengths))
        return voice

    def encode(self, units: Tensor, lengths: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:
        """Units int64 [batch, units] of these lengths [batch], in voices [batch, dim].

        Returns:
            Vectors [batch, units, dim], and log(1 + frames) of each unit [batch, units].
        """
        encoded = self.encoder(self.embedding(units) + voice[:, None], lengths)
        return encoded, self.duration(encoded).squeeze(-1)

    def decode(self, encoded: Tensor, durations: Tensor) -> Tensor:
        """Vectors of units and the frames of each, int64 [batch, units], 0 past the lengths.

        Returns:
            Vectors [batch, frames, dim], which `predict` takes.
        """
        expansions = self.expansion(encoded)
        expanded = pad_sequence(
            [_expand(vectors, frames, self.place) for vectors, frames in zip(expansions, durations, strict=True)],
            batch_first=True,
        )
        vectors: Tensor = self.decoder(expanded, durations.sum(dim=1))
        return vectors


def _expand(vectors: Tensor, durations: Tensor, place: nn.Module) -> Tensor:
    """Each of [units, dim] as often as it has frames, with how far in its unit a frame is and how long that lasts."""
    starts = durations.cumsum(0) - durations
    lasting, first = durations.repeat_interleave(durations), starts.repeat_interleave(durations)
    fraction = (torch.arange(len(lasting), device=vectors.device) - first + 0.5) / lasting
    where = torch.stack([fraction, lasting.log1p()], dim=1).to(vectors.dtype)
    expanded: Tensor = vectors.repeat_interleave(durations, dim=0) + place(where)
    return expanded


class TextToSpeech(TokenGenerator):
    """Reads texts aloud, in a voice that it has kept or that of a reference.

    The reference is heard in all layers, whichever of them are made.
    """

    task = "tts"
    Config = SynthesizerConfig
    pipeline = "text-to-speech"
    example = 'waveform = model.speak("Hello world")'
    head_config: SynthesizerConfig

    @classmethod
    def build_head(cls, config: DownstreamConfig) -> SynthesizerHead:
        head: SynthesizerConfig = cls.read_head_config(config)
        if head.text is None or " " not in (head.text.characters or ""):
            raise ConfigError("text to speech needs the characters of its text, a space among them")
        codebooks = config.codebooks
        if head.layers is not None:
            codebooks = codebooks.select(in_order(head.layers), owner="the tokenizer of this model")
        return SynthesizerHead(head, config.front.dim, TextCodec(head.text).size, codebooks)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names that `speak` takes."""
        return self.head_config.speakers

    @property
    def codec(self) -> TextCodec:
        """Text <-> units."""
        assert self.head_config.text is not None
        return TextCodec(self.head_config.text)

    def speak(
        self,
        text: str | Sequence[str],
        *,
        speaker: str | None = None,
        reference: Speech | None = None,
        speed: float = 1.0,
    ) -> Tensor:
        """Texts -> speech.

        Args:
            text: one, or several; sentences are spoken one by one, with a pause between them. Numbers, abbreviations
                and signs are read aloud by `spoken_form`; what cannot be spoken is left out, with a warning.
            speaker: one of `speakers`; by default the one that the config names, or the first.
            reference: instead, speech in whose voice to speak: one clip, or one for each text.
            speed: 2 speaks twice as fast.

        Returns:
            float32 [batch, samples] in [-1, 1], zero past the end of each.

        Raises:
            TextError: no text; of a model without a language, characters that it cannot say, which are named.
            SpeakerError: an unknown speaker; both a speaker and a reference, or none of them and nobody to choose.
            AudioError, TokensError, LayerError: a reference that cannot be used, as by `Tokenizer.encode`.
        """
        return self.vocoder.decode(self.speak_tokens(text, speaker=speaker, reference=reference, speed=speed))

    @torch.inference_mode()
    def speak_tokens(
        self,
        text: str | Sequence[str],
        *,
        speaker: str | None = None,
        reference: Speech | None = None,
        speed: float = 1.0,
    ) -> Tokens:
        """The tokens that `speak` decodes."""
        texts = [text] if isinstance(text, str) else list(text)
        if not texts or not 0.1 <= speed <= 10:
            raise TextError(f"expected at least one text and a speed of 0.1 to 10, got {len(texts)} and {speed}")
        codec = self.codec
        words = [_speakable(one, codec, self.head_config.language) for one in texts]
        units = [[codec.encode(sentence) for sentence in _sentences(one, codec)] for one in words]
        voices = self._voices(len(texts), speaker, reference)
        return self._tokens(
            [
                torch.cat([self._sentence(sentence, voice, speed) for sentence in sentences])
                for sentences, voice in zip(units, voices, strict=True)
            ]
        )

    def _sentence(self, units: list[int], voice: Tensor, speed: float) -> Tensor:
        """Codes int64 [frames, rows] of one sentence in a voice [dim]."""
        head = self.network.head
        assert isinstance(head, SynthesizerHead)
        # The silence on either side is a space.
        space = self.codec.space
        numbers = torch.tensor([[space, *units, space]], device=self.device)
        lengths = torch.tensor([numbers.shape[1]], device=self.device)
        encoded, log_durations = head.encode(numbers, lengths, voice[None])
        durations = (log_durations.exp() - 1).div(speed).round().clamp(1, _MOST_FRAMES).long()
        codes: Tensor = head.predict(head.decode(encoded, durations))[1][0]
        return codes

    def _voices(self, texts: int, speaker: str | None, reference: Speech | None) -> Tensor:
        if (speaker is not None) and (reference is not None):
            raise SpeakerError("give either a speaker or a reference, got both")
        if reference is not None:
            voices = torch.stack(self._outputs(reference, None, None))
            if len(voices) not in (1, texts):
                raise SpeakerError(f"expected one reference, or one for each of {texts} texts, got {len(voices)}")
            return voices.expand(texts, -1)
        if speaker is None and self.speakers:
            speaker = self.head_config.default_speaker or self.speakers[0]
        if speaker not in self.speakers:
            known = ", ".join(self.speakers) or "nobody"
            raise SpeakerError(f"there is no speaker {speaker!r}: known are {known}; or pass reference=, a recording")
        head = self.network.head
        assert isinstance(head, SynthesizerHead)
        return head.voices[self.speakers.index(speaker)].expand(texts, -1)


def _speakable(text: str, codec: TextCodec, language: str | None) -> str:
    """A text as it is read aloud in a language, with characters of the codec alone; a warning names the others."""
    left_out = {character for character in text if unicodedata.category(character) == "So"}
    if language is not None:
        from anyascii import anyascii

        text = spoken_form(text, language)
        foreign = {character for character in text if codec.unknown(character)}
        text = "".join(anyascii(c) if c in foreign and c.isalpha() else c for c in text)
        left_out |= {character for character in text if codec.unknown(character)}
    if left_out:
        names = ", ".join(map(repr, sorted(left_out)))
        warnings.warn(f"{names} cannot be spoken, and is left out of {text[:60]!r}", stacklevel=2)
    return "".join(character for character in text if character not in left_out)


def _sentences(text: str, codec: TextCodec) -> list[str]:
    """The sentences of a text that hold words; all of it if none does, for an error that shows it."""
    return [part for part in _SENTENCE_END.split(text) if codec.normalize(part)] or [text]
