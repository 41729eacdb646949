"""`SpeechLanguageModel`: a decoder-only language model over speech tokens, which goes on from where speech stops."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semtok.audio.lengths import Windows
from semtok.audio.recordings import AudioInput
from semtok.checkpoints.card import Card
from semtok.checkpoints.config import CONFIG, read_config, write_config
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.transformers_models import load_model, quiet_transformers
from semtok.checkpoints.untrusted import read_state_dict
from semtok.checkpoints.untrusted.source import loading
from semtok.codebooks.codebooks import Codebooks
from semtok.downstream.token_model import TokenModel
from semtok.errors import MOST_LAYERS, CheckpointError, ConfigError, TokensError
from semtok.language.vocabulary import UnitVocabulary
from semtok.networks.sequences import join, run
from semtok.support.atomic import atomic_write
from semtok.tokens import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from typing_extensions import Self

_CONFIG, _WEIGHTS = "language.json", "model.safetensors"
_LEFT_OUT = ("transformers_weights", "auto_map", "quantization_config")
# Bounds memory: ids whose scores over the vocabulary are held at a time, padding included.
_IDS_AT_A_TIME = 4096


@dataclass(frozen=True)
class LanguageModelConfig:
    """What `language.json` says.

    Args:
        format_version: of the file.
        checkpoint: bundled name, hub id or folder of the tokenizer and the vocoder.
        vocabulary: in the layout `flattened`.
    """

    format_version: int
    checkpoint: str
    vocabulary: UnitVocabulary

    def __post_init__(self) -> None:
        if self.format_version != 1:
            raise ConfigError(f"format_version must be 1, got {self.format_version}: update semtok")
        if self.vocabulary.layout != "flattened":
            raise ConfigError(f"the vocabulary must be in the layout flattened, got {self.vocabulary.layout}")


def _read_network_config(repository: Repository) -> tuple[Any, Any]:
    """The config of transformers in a repository, and the class of its network.

    Entries that choose other weights, code or arithmetic are left out.
    """
    entries, path = repository.read_json(CONFIG), repository.file(CONFIG)
    with quiet_transformers():
        from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING
    kind = entries.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise CheckpointError(f"{path} describes no model that transformers knows: model_type {kind!r}")
    with loading(path):
        plain = {name: value for name, value in entries.items() if name not in _LEFT_OUT and name[0] != "_"}
        config = CONFIG_MAPPING[kind].from_dict(plain)
        layers = config.num_hidden_layers
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise CheckpointError(f"{path} describes no language model: a model of type {kind!r}")
    if layers > MOST_LAYERS:
        raise ConfigError(f"{path}: num_hidden_layers must be at most {MOST_LAYERS}, got {layers}")
    return config, MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


class SpeechLanguageModel(TokenModel):
    """A model of transformers that predicts ids of a `UnitVocabulary`, one after the other.

    Its folder is one of transformers, which `AutoModelForCausalLM` loads, with `language.json` beside.

    Args:
        network: taken over, not copied: put in eval mode and its parameters frozen.
        config: as in `language.json`.

    Raises:
        CheckpointError: a network with fewer ids than the vocabulary.
    """

    config: LanguageModelConfig
    network: PreTrainedModel

    def __init__(self, network: PreTrainedModel, config: LanguageModelConfig) -> None:
        super().__init__(config, network)
        self.vocabulary = config.vocabulary
        if (size := network.get_input_embeddings().weight.shape[0]) <= self.vocabulary.end_id:
            raise CheckpointError(f"the network has {size} ids, the vocabulary needs {self.vocabulary.end_id + 1}")

    @classmethod
    def load(cls, repository: Repository, device: torch.device) -> Self:
        """The model that a repository holds; errors as in `from_pretrained`."""
        path = repository.file(_CONFIG)
        config = read_config(repository.read_json(_CONFIG), LanguageModelConfig, str(path))
        weights = repository.file(_WEIGHTS)
        shape, model_class = _read_network_config(repository)
        network, report = load_model(model_class, shape, read_state_dict(weights), weights)
        if wrong := sorted(report["missing_keys"]) + sorted(report["mismatched_keys"]):
            raise CheckpointError(f"{weights} does not fit the config.json beside it; missing: {wrong[:20]}")
        return cls(network.to(device), config)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves the network in transformers' layout, and `language.json` last: a folder without it is not whole.

        Raises:
            CheckpointError: the folder holds a tokenizer, a vocoder or a model of a task.
        """
        from safetensors.torch import save_model

        target = Path(folder)
        if (target / CONFIG).exists() and "format_version" in Repository(str(target), target).read_json(CONFIG):
            raise CheckpointError(f"cannot save to {target}: it holds another kind of semtok's models; save elsewhere")
        target.mkdir(parents=True, exist_ok=True)
        with atomic_write(target / _WEIGHTS) as aside:
            save_model(self.network, str(aside), {"format": "pt"})
        self.network.config.architectures = [type(self.network).__name__]
        self.network.config.save_pretrained(str(target))
        write_config(target / _CONFIG, self.config)

    def card(self, folder: Path, name: str) -> Card:
        """What the model card says; `name` is the model's hub id."""
        self._check_checkpoint_is_public()
        return Card(
            "audio-to-audio",
            "A language model on discrete speech tokens, which goes on from where speech stops.",
            "from semtok.language.model import SpeechLanguageModel\n\n"
            f'model = SpeechLanguageModel.from_pretrained("{name}")\n'
            'waveform = model.continue_speech("speech.wav", seconds=4)',
            {
                "Tokenizer": f"`{self.checkpoint}`",
                "Layers": ", ".join(map(str, self.layers)),
                "Ids": f"{len(self.vocabulary)}, of a network of type {self.network.config.model_type}",
            },
            self.fingerprint,
            base_model=self.checkpoint if "/" in self.checkpoint else None,
        )

    @property
    def checkpoint(self) -> str:
        return self.config.checkpoint

    @property
    def codebooks(self) -> Codebooks:
        """Those of the layers whose codes the vocabulary has."""
        return self.vocabulary.codebooks

    @property
    def fingerprint(self) -> str:
        """Of the vocabulary's tokenizer."""
        return self.vocabulary.fingerprint

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms, those of the tokenizer."""
        return self.tokenizer.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next, of the tokenizer."""
        return self.tokenizer.hop_length

    def __repr__(self) -> str:
        return (
            f"SpeechLanguageModel({self.network.config.model_type}, layers={self.layers}, "
            f"ids={len(self.vocabulary)}, checkpoint={self.checkpoint!r}, on {self.device})"
        )

    @torch.inference_mode()
    def bits(self, tokens: Tokens) -> list[Tensor]:
        """How many bits each id takes, of each utterance: float32 [ids], all of `UnitVocabulary.to_ids` but begin.

        An utterance gets the same alone and beside others, up to rounding. Of one that is longer than the network's
        context, each id is predicted from half a context before it at least.

        Raises:
            TokensError, LayerError: as in `UnitVocabulary.to_ids`.
        """
        context = self.network.config.max_position_embeddings
        windows = Windows(context - context // 2, context // 2, 0)
        sequences = [ids[None] for ids in self.vocabulary.to_ids(tokens.to(self.device))]
        return [bits[1:] for bits in join(run(self._bits, sequences, windows, _IDS_AT_A_TIME))]

    def _bits(self, ids: Tensor, lengths: Tensor, numbers: list[int]) -> Tensor:
        """Of each id of windows, int64 [batch, 1, ids]: float32 [batch, ids], 0 for the first."""
        # Padding comes last, so no id attends to it.
        logits = self.network(ids[:, 0], use_cache=False).logits[:, :-1].float()
        nats = F.cross_entropy(logits.transpose(1, 2), ids[:, 0, 1:], reduction="none")
        return F.pad(nats / math.log(2), (1, 0))

    @torch.inference_mode()
    def continue_tokens(
        self,
        tokens: Tokens,
        seconds: float,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> Tokens:
        """Utterances, with so many seconds more that the model draws.

        Ids that would be out of order, and the end of the utterance, are never drawn. Of a prompt that does not fit
        the network's context beside the continuation, the last part counts.

        Args:
            tokens: with the model's layers.
            seconds: of the continuation.
            temperature: below 1 keeps to what is likely.
            top_k: draw among so many of the likeliest; among all by default.
            seed: of the draw; an utterance gets the same alone and beside others.

        Returns:
            Tokens of the model's layers: the prompt and what follows.

        Raises:
            TokensError: as in `UnitVocabulary.to_ids`; a duration, a temperature or a top_k that makes no sense.
            LayerError: tokens that lack a layer.
        """
        frames = round(seconds * self.vocabulary.frame_rate)
        if frames < 1 or temperature <= 0 or (top_k is not None and top_k < 1):
            raise TokensError(
                f"a continuation needs at least a frame ({1 / self.vocabulary.frame_rate:.2f} s), a temperature above "
                f"0 and a top_k of at least 1, got {seconds} s, {temperature} and {top_k}"
            )
        longer = []
        for utterance in tokens.to(self.device):
            generator = torch.Generator(self.device).manual_seed(seed)
            (prompt,) = self.vocabulary.to_ids(utterance)
            drawn = self._draw(self._fitting(prompt[:-1], frames), frames, temperature, top_k, generator)
            whole = self.vocabulary.from_ids([torch.cat([prompt[:-1], drawn])])
            longer.append(whole.cut(0, int(utterance.lengths[0]) + frames))
        return Tokens.cat(longer)

    def _fitting(self, prompt: Tensor, frames: int) -> Tensor:
        """Begin, and the last frames of a prompt that fit the context beside so many frames: half of it at least."""
        rows, context = len(self.vocabulary.sizes), self.network.config.max_position_embeddings
        room = max(context - frames * rows, context // 2) - 1
        if len(prompt) - 1 <= room:
            return prompt
        return torch.cat([prompt[:1], prompt[-(room // rows * rows) :]])

    def _draw(
        self, prompt: Tensor, frames: int, temperature: float, top_k: int | None, generator: torch.Generator
    ) -> Tensor:
        """Ids of at least so many frames, the last one whole."""
        vocabulary = self.vocabulary
        step, cache, drawn, written = prompt[None], None, [], 0
        while written < frames:
            for first, size in zip(vocabulary.offsets, vocabulary.sizes, strict=True):
                output = self.network(step, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                scores = output.logits[0, -1, first : first + size].float() / temperature
                if top_k is not None and top_k < size:
                    scores = scores.masked_fill(scores < scores.topk(top_k).values[-1], -torch.inf)
                code = torch.multinomial(scores.softmax(dim=0), 1, generator=generator)
                step = first + code[None]
                drawn.append(step[0])
            written += int(code) + 1 if vocabulary.max_duration else 1
        return torch.cat(drawn)

    def continue_speech(
        self,
        audio: AudioInput,
        seconds: float,
        *,
        sample_rate: int | None = None,
        prompt_seconds: float | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Speech -> the same as its tokens say it, and so many seconds more.

        Arguments and errors as in `continue_tokens` and `Tokenizer.encode`; of the audio, `prompt_seconds` count from
        its beginning, all by default. A vocoder with a speaker encoder speaks in the voice of the audio.

        Returns:
            float32 [batch, samples] in [-1, 1] at `vocoder.sample_rate`, zero past each utterance's end.
        """
        tokens = self.tokenizer.encode(audio, sample_rate=sample_rate, layers=self.vocabulary.layers)
        if prompt_seconds is not None:
            tokens = tokens.cut(0, max(1, round(prompt_seconds * tokens.frame_rate)))
        longer = self.continue_tokens(tokens, seconds, temperature=temperature, top_k=top_k, seed=seed)
        speaker = None
        if self.vocoder.network.speaker_encoder is not None:
            speaker = self.vocoder.speaker(audio, sample_rate=sample_rate)
        return self.vocoder.decode(longer, speaker=speaker)
