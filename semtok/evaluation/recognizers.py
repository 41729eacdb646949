"""Speech recognizers of transformers, Whisper or CTC, that judge what is still understood."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from semtok.checkpoints.transformers_models import quiet_transformers
from semtok.errors import CheckpointError, SemtokError
from semtok.evaluation.metrics import SAMPLE_RATE, Waveform
from semtok.evaluation.models import PREPROCESSOR, fetch_files, find_model, load_model, read_architecture
from semtok.networks.precision import parse_dtype

_TOKENIZER = ("tokenizer.json", "vocab.json")
_OPTIONAL = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("merges.txt", "normalizer.json", "generation_config.json"),
)
_BEAMS = 5
# Some twice as many as fast speech has, in languages of several tokens a word; what loops is cut there.
_TOKENS_A_SECOND = 12
_BATCH = 8
# Written without spaces: errors are counted by character, as Whisper's authors do.
_UNSPACED = ("ja", "lo", "my", "th", "yue", "zh")


class Recognizer(ABC):
    """What hears words in speech, the same ones whatever is transcribed beside it.

    Attributes:
        name: hub id and commit, or folder; with language, type and search.
        language: its code, such as "en".
    """

    def __init__(self, name: str, language: str, spellings: Mapping[str, str] | None = None) -> None:
        """`spellings` are those that Whisper's text normaliser makes alike, British to American."""
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

        self.name = name
        self.language = language
        self._normalize = (
            EnglishTextNormalizer(dict(spellings or {}))
            if language == "en"
            else BasicTextNormalizer(split_letters=language in _UNSPACED)
        )

    def words(self, text: str) -> list[str]:
        """The words of a text by Whisper's text normaliser: the English one, or the basic one for other languages."""
        return str(self._normalize(text)).split()

    @abstractmethod
    def transcribe(self, waveforms: Sequence[Waveform]) -> list[str]:
        """What is said in each waveform, float32 [samples] at 16 kHz."""

    def other_language(self, waveform: Waveform) -> str | None:
        """The code of the language spoken, if the recognizer is sure that it is another than its own."""
        return None


class Whisper(Recognizer):
    """Whisper (Radford et al., 2022), searched with five beams; a transcript has at most 12 tokens a second."""

    def __init__(self, name: str, language: str, model: Any, tokenizer: Any, features: Any) -> None:
        dtype = str(model.dtype).removeprefix("torch.")
        described = f"{name}, language {language}, {dtype}, {_BEAMS} beams"
        super().__init__(described, language, tokenizer.english_spelling_normalizer)
        self._model, self._tokenizer, self._features = model, tokenizer, features
        self._languages = _languages(model)
        # it would contradict the bound given with each clip
        model.generation_config.max_length = None

    @torch.inference_mode()
    def transcribe(self, waveforms: Sequence[Waveform]) -> list[str]:
        """What is said in each waveform; those beyond 30 s are heard in windows, as Whisper's authors do."""
        # by length, as the bound of a clip must not depend on the others
        seconds = [math.ceil(len(waveform) / SAMPLE_RATE) for waveform in waveforms]
        transcripts = [""] * len(waveforms)
        order = sorted(range(len(waveforms)), key=seconds.__getitem__)
        for bound, group in groupby(order, key=seconds.__getitem__):
            numbers = list(group)
            size = 1 if bound * SAMPLE_RATE > self._features.n_samples else _BATCH
            for start in range(0, len(numbers), size):
                batch = numbers[start : start + size]
                texts = self._generate([waveforms[number] for number in batch], bound)
                for number, text in zip(batch, texts, strict=True):
                    transcripts[number] = text
        return transcripts

    def _generate(self, waveforms: Sequence[Waveform], seconds: int) -> list[str]:
        options = {"language": self.language, "task": "transcribe"} if self._languages else {}
        long = seconds * SAMPLE_RATE > self._features.n_samples
        windows = {"truncation": False, "padding": "longest"} if long else {}
        inputs = self._features(
            list(waveforms), sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True, **windows
        )
        # its own words on how it is configured are of no use here
        with quiet_transformers():
            tokens = self._model.generate(
                inputs.input_features.to(self._model.device, self._model.dtype),
                attention_mask=inputs.attention_mask.to(self._model.device),
                return_timestamps=long,
                num_beams=_BEAMS,
                max_new_tokens=self._bound(min(seconds, self._features.chunk_length)),
                **options,
            )
        texts: list[str] = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return texts

    def _bound(self, seconds: int) -> int:
        # the prompt has at most four tokens
        longest: int = self._model.config.max_target_positions - 4
        return min(_TOKENS_A_SECOND * (seconds + 1), longest)

    @torch.inference_mode()
    def other_language(self, waveform: Waveform) -> str | None:
        """The language that Whisper finds likelier than all others together, if it is not its own."""
        if not self._languages:
            return None
        inputs = self._features([waveform], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        start = torch.tensor([[self._model.generation_config.decoder_start_token_id]], device=self._model.device)
        features = inputs.input_features.to(self._model.device, self._model.dtype)
        logits = self._model(features, decoder_input_ids=start).logits[0, 0, list(self._languages.values())]
        share, best = logits.float().softmax(0).max(0)
        language = list(self._languages)[int(best)]
        return language if share > 0.5 and language != self.language else None


class CTC(Recognizer):
    """A model with connectionist temporal classification (Graves et al., 2006): the likeliest label of each frame."""

    def __init__(self, name: str, language: str, model: Any, tokenizer: Any, features: Any) -> None:
        super().__init__(f"{name}, CTC, {str(model.dtype).removeprefix('torch.')}", language)
        self._model, self._tokenizer, self._features = model, tokenizer, features

    @torch.inference_mode()
    def transcribe(self, waveforms: Sequence[Waveform]) -> list[str]:
        """What is said in each waveform. One at a time, as many such models hear the padding of a batch."""
        transcripts = []
        for waveform in waveforms:
            inputs = self._features([waveform], sampling_rate=SAMPLE_RATE, return_tensors="pt")
            (values,) = (inputs[name] for name in self._features.model_input_names if name != "attention_mask")
            labels = self._model(values.to(self._model.device, self._model.dtype)).logits.argmax(dim=2)
            transcripts += self._tokenizer.batch_decode(labels)
        return transcripts


def load_recognizer(
    name: str = "openai/whisper-base",
    *,
    language: str = "en",
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    local_files_only: bool = False,
) -> Recognizer:
    """A recognizer of transformers.

    Args:
        name: folder or hub id (`owner/name`, or `owner/name@commit`) of a Whisper or CTC model.
        language: code of the language spoken, as Whisper has them.
        device: where it runs.
        dtype: of the weights; float32 by default. "bfloat16" is several times as fast where the CPU knows it, and
            changes some words.
        local_files_only: never ask the hub.

    Raises:
        CheckpointError: files are missing or corrupt, or of a model of another kind.
        SemtokError: a language that the recognizer does not know.
    """
    from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoTokenizer

    precision = parse_dtype(dtype)
    repository = find_model(name, local_files_only=local_files_only)
    architecture = read_architecture(repository)
    if not (is_whisper := architecture == "WhisperForConditionalGeneration") and not architecture.endswith("ForCTC"):
        raise CheckpointError(
            f"{name} is a {architecture}: a recognizer is a WhisperForConditionalGeneration or ...ForCTC"
        )
    folder = fetch_files(repository, [(PREPROCESSOR, "processor_config.json"), _TOKENIZER], _OPTIONAL)
    model = load_model(AutoModelForSpeechSeq2Seq if is_whisper else AutoModelForCTC, folder, precision, device)
    _check_language(language, model, name)
    tokenizer, features = (_load(part, folder) for part in (AutoTokenizer, AutoFeatureExtractor))
    return (Whisper if is_whisper else CTC)(str(repository), language, model, tokenizer, features)


def _load(part: Any, folder: Path) -> Any:
    try:
        return part.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # a tokenizer's JSON that is corrupt is a plain Exception of the tokenizers package
    except Exception as error:
        raise CheckpointError(f"{part.__name__} cannot load {folder}: {error}; fetch it again") from error


def _languages(model: Any) -> dict[str, int]:
    """Code and token of each language of a Whisper; none of one that only knows English."""
    config = model.generation_config
    if not getattr(config, "is_multilingual", False):
        return {}
    return {token.strip("<|>"): number for token, number in config.lang_to_id.items()}


def _check_language(language: str, model: Any, name: str) -> None:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    is_whisper = model.config.model_type == "whisper"
    known = (_languages(model) or ["en"]) if is_whisper else LANGUAGES
    if language not in known:
        raise SemtokError(f"{name} knows no language {language!r}; it knows {', '.join(sorted(known))}")
