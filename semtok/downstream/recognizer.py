"""Speech -> text: CTC on a bidirectional LSTM (the paper's recogniser) or a Conformer."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from semtok.audio.io import AudioArray
from semtok.downstream.arpa import BackoffModel
from semtok.downstream.config import DownstreamConfig
from semtok.downstream.conformer import Conformer, ConformerConfig
from semtok.downstream.ctc import beam_search, best_path
from semtok.downstream.decoding import DecodingConfig, TextScorer
from semtok.downstream.model import DownstreamModel, Head, Speech
from semtok.downstream.text import TextCodec, TextConfig
from semtok.errors import MOST_LAYERS, ConfigError, check_sizes

_LANGUAGE_MODEL = "language_model.arpa.gz"


@dataclass(frozen=True)
class LSTMConfig:
    """Sizes of a bidirectional LSTM; `hidden` is that of each direction."""

    hidden: int
    layers: int
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_sizes(self, "hidden")
        check_sizes(self, "layers", most=MOST_LAYERS)


@dataclass(frozen=True)
class RecognizerConfig:
    """A recogniser by one of `lstm` and `conformer`.

    `frames_per_step` frames are joined to one step of it. `text` are the units that it writes. `decoding` is how it
    searches for them; by default the likeliest path is taken.
    """

    lstm: LSTMConfig | None = None
    conformer: ConformerConfig | None = None
    frames_per_step: int = 1
    text: TextConfig | None = None
    decoding: DecodingConfig | None = None

    def __post_init__(self) -> None:
        check_sizes(self, "frames_per_step")
        if (self.lstm is None) == (self.conformer is None):
            raise ConfigError("a recogniser is given by exactly one of the entries 'lstm' and 'conformer'")


class RecognizerHead(Head):
    """Fused vectors -> log-probabilities [batch, steps, labels]."""

    def __init__(self, config: RecognizerConfig, dim: int, labels: int) -> None:
        super().__init__()
        self.frames_per_step: int = config.frames_per_step
        joined = dim * config.frames_per_step
        if config.lstm is not None:
            self.body: nn.Module = PackedLSTM(config.lstm, joined)
            width = 2 * config.lstm.hidden
        else:
            assert config.conformer is not None
            self.input = nn.Linear(joined, config.conformer.dim)
            self.body = Conformer(config.conformer)
            width = config.conformer.dim
        self.output = nn.Linear(width, labels)

    def forward(self, fused: Tensor, lengths: Tensor) -> Tensor:
        x = F.pad(fused, (0, 0, 0, -fused.shape[1] % self.frames_per_step))
        x = x.reshape(len(x), x.shape[1] // self.frames_per_step, -1)
        steps = self.steps(lengths)
        x = self.body(x, steps) if isinstance(self.body, PackedLSTM) else self.body(self.input(x), steps)
        log_probabilities: Tensor = self.output(x).float().log_softmax(dim=-1)
        return log_probabilities

    def steps(self, lengths: Tensor) -> Tensor:
        """Steps of so many frames, both int64 [batch]."""
        return -(-lengths // self.frames_per_step)


class PackedLSTM(nn.Module):
    """A bidirectional LSTM whose backward direction starts at the end of each utterance, not of the batch."""

    def __init__(self, config: LSTMConfig, dim: int) -> None:
        super().__init__()
        dropout = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(dim, config.hidden, config.layers, batch_first=True, bidirectional=True, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return output


class SpeechRecognizer(DownstreamModel):
    """Writes down what is said."""

    task = "asr"
    Config = RecognizerConfig
    pipeline = "automatic-speech-recognition"
    example = 'text, = model.transcribe("speech.wav")'
    head_config: RecognizerConfig

    @classmethod
    def build_head(cls, config: DownstreamConfig) -> RecognizerHead:
        head: RecognizerConfig = cls.read_head_config(config)
        if head.text is None:
            raise ConfigError("a recogniser needs the units of its text")
        return RecognizerHead(head, config.front.dim, TextCodec(head.text).size)

    @property
    def codec(self) -> TextCodec:
        """Text <-> labels."""
        assert self.head_config.text is not None
        return TextCodec(self.head_config.text)

    def transcribe(
        self,
        audio: Speech,
        *,
        beam: int | None = None,
        language_model: str | os.PathLike[str] | BackoffModel | None = None,
        lm_weight: float | None = None,
        insertion_bonus: float | None = None,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> list[str]:
        """The text of each clip.

        What is not given is as `decoding` of the model's config says; where that says nothing and no `beam` and no
        `language_model` is given, the likeliest path alone is taken, which is faster.

        Args:
            audio, sample_rate, lengths: as in `Tokenizer.encode`; or tokens.
            beam: width of a prefix search over all paths.
            language_model: an ARPA file, or what it holds; by default the model's own, if it has one.
            lm_weight: of the language model; 0 goes without.
            insertion_bonus: for each of its words, or characters.

        Raises:
            AudioError, TokensError, LayerError: as in `Tokenizer.encode`; tokens that are not this model's.
            TextError: a language model that cannot be read, or of other letters.
            ConfigError: a beam, weight or bonus that makes no sense.
        """
        codec, settings = self.codec, self.head_config.decoding
        outputs = self.log_probabilities(audio, sample_rate=sample_rate, lengths=lengths)
        if settings is None and beam is None and language_model is None:
            return [codec.decode(best_path(output)) for output in outputs]
        settings = settings or DecodingConfig()
        decoding = DecodingConfig(
            settings.beam if beam is None else beam,
            settings.weight if lm_weight is None else lm_weight,
            settings.bonus if insertion_bonus is None else insertion_bonus,
        )
        scorer = self._scorer(language_model, decoding) if decoding.weight else None
        return [codec.decode(beam_search(output, decoding.beam, scorer)) for output in outputs]

    def _scorer(
        self, language_model: str | os.PathLike[str] | BackoffModel | None, decoding: DecodingConfig
    ) -> TextScorer | None:
        if isinstance(language_model, str | os.PathLike):
            language_model = BackoffModel.load(language_model)
        model = language_model or self.language_model
        return None if model is None else TextScorer(model, self.codec.pieces, decoding)

    @functools.cached_property
    def language_model(self) -> BackoffModel | None:
        """That which the model was saved with, read when first needed; another may be set in its place.

        Raises:
            TextError: it cannot be read.
        """
        path = None if self.repository is None else self.repository.find(_LANGUAGE_MODEL)
        return None if path is None else BackoffModel.load(path)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves config and weights, and the language model."""
        super().save_pretrained(folder)
        if self.language_model is not None:
            self.language_model.save(Path(folder) / _LANGUAGE_MODEL)

    def log_probabilities(
        self,
        audio: Speech,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> list[Tensor]:
        """Of the blank (0) and each label, float32 [steps, labels] of each clip; a step is `frames_per_step` frames."""
        return self._outputs(audio, sample_rate, lengths)
