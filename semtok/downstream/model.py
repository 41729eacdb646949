"""What the models of all tasks have in common."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.io import AudioArray
from semtok.audio.lengths import Windows
from semtok.audio.recordings import AudioInput, open_recordings
from semtok.checkpoints.card import Card
from semtok.checkpoints.config import CONFIG, read_config, write_config
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.tensors import load_network, read_tensors, write_tensors
from semtok.codebooks.editions import with_edition
from semtok.codebooks.layers import Layer
from semtok.downstream.config import DownstreamConfig, read_downstream_config
from semtok.downstream.front import Front
from semtok.downstream.tasks import TASKS
from semtok.downstream.token_model import TokenModel
from semtok.encoder.batches import Clips, run_all
from semtok.errors import CheckpointError, LayerError, TokensError
from semtok.networks.sequences import join, run
from semtok.tokenizer import Tokenizer
from semtok.tokens import Tokens

Speech: TypeAlias = AudioInput | Tokens
"""What a model takes: audio as `Tokenizer.encode` does, or tokens of its tokenizer."""

Self = TypeVar("Self", bound="DownstreamModel")

_WEIGHTS = "model.safetensors"
# Bounds memory: frames that are run at a time, padding included.
_BATCH_FRAMES = 6000
# Longer utterances go through heads that answer frame by frame in windows, with so many frames beside each.
_WINDOW_FRAMES, _CONTEXT_FRAMES = 3000, 200


class Head(nn.Module):
    """What a task makes of the fused vectors [batch, frames, dim] of lengths int64 [batch].

    Attributes:
        frames_per_step: frames to one output of a head that answers [batch, steps, ...]; None for a head that answers
            [batch, ...].
    """

    frames_per_step: int | None = None


class TaskNetwork(nn.Module):
    """Front and head: codes or features -> what the head makes of them."""

    def __init__(self, front: Front, head: Head) -> None:
        super().__init__()
        self.front = front
        self.head = head

    def forward(
        self, inputs: Tensor, lengths: Tensor, present: Tensor | None = None, hidden: Tensor | None = None
    ) -> Tensor:
        """Arguments as in `Front.forward`."""
        fused, _ = self.front(inputs, lengths, present, hidden)
        output: Tensor = self.head(fused, lengths)
        return output


class DownstreamModel(TokenModel):
    """A frozen network of a task, on the tokens of one tokenizer.

    A task is a subclass with the class attributes below and `build_head`, and its line in `semtok.downstream.tasks`.

    Attributes:
        task: its name in `TASKS`.
        Config: dataclass of the head.
        pipeline: by which the hub finds such models.
        example: a line of Python for the model card, what a user does with the `model`.
        config: what `config.json` says.
        network: `TaskNetwork`.
    """

    task: ClassVar[str]
    Config: ClassVar[type[Any]]
    pipeline: ClassVar[str]
    example: ClassVar[str]
    config: DownstreamConfig
    network: TaskNetwork

    def __init__(self, config: DownstreamConfig, network: TaskNetwork, *, tokenizer: Tokenizer | None = None) -> None:
        super().__init__(config, network)
        self.head_config = self.read_head_config(config)
        if tokenizer is not None:
            self.tokenizer = self.checked(tokenizer)

    @classmethod
    @abstractmethod
    def build_head(cls, config: DownstreamConfig) -> Head:
        """The head that a config describes, with random weights."""

    @classmethod
    def read_head_config(cls, config: DownstreamConfig) -> Any:
        """The section `head` as `cls.Config`."""
        return read_config(config.head, cls.Config, "head")

    @classmethod
    def build_network(cls, config: DownstreamConfig) -> TaskNetwork:
        """The network that a config describes, with random weights."""
        return TaskNetwork(Front(config.front, config.codebooks), cls.build_head(config))

    @classmethod
    def load(cls: type[Self], repository: Repository, device: torch.device) -> Self:
        """The model that a repository holds; of `DownstreamModel` itself, that of whatever task it is."""
        config = read_downstream_config(repository)
        if config.task not in TASKS:
            known = ", ".join(sorted(TASKS))
            raise CheckpointError(f"{repository.name} is a model of task {config.task!r}, known are {known}")
        kind: type[Any] = TASKS[config.task].model
        if not issubclass(kind, cls):
            raise CheckpointError(f"{repository.name} is a model of task {config.task!r}: load it by {kind.__name__}")
        tensors = read_tensors(repository.file(_WEIGHTS), config.fingerprint)
        network = load_network(lambda: kind.build_network(config), tensors, repository.name)
        model: Self = kind(config, network.to(device))
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves config and weights.

        Raises:
            CheckpointError: the folder holds a tokenizer, a vocoder or a model of another task.
        """
        target = Path(folder)
        if (target / CONFIG).exists():
            there = read_downstream_config(Repository(str(target), target)).task
            if there != self.task:
                raise CheckpointError(f"cannot save to {target}: it holds a model of task {there}; save elsewhere")
        self._check_exact()
        target.mkdir(parents=True, exist_ok=True)
        write_tensors(target / _WEIGHTS, self.network.state_dict(), self.fingerprint)
        write_config(target / CONFIG, self.config)

    def card(self, folder: Path, name: str) -> Card:
        """What the model card says; `name` is the model's hub id."""
        self._check_checkpoint_is_public()
        kind = type(self).__name__
        return Card(
            self.pipeline,
            "A model on discrete speech tokens of several layers of a self-supervised encoder.",
            f'from semtok.downstream import {kind}\n\nmodel = {kind}.from_pretrained("{name}")\n{self.example}',
            {
                "Tokenizer": f"`{self.checkpoint}`",
                "Layers": ", ".join(map(str, self.layers)),
                "Mean weight of each layer": ", ".join(
                    f"{layer}: {share:.2f}" for layer, share in self.layer_importance.items()
                ),
            },
            self.fingerprint,
            base_model=self.checkpoint if "/" in self.checkpoint else None,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(layers={self.layers}, tokenizer={self.config.tokenizer!r}, "
            f"fingerprint={self.fingerprint!r}, {self.dtype} on {self.device})"
        )

    @property
    def checkpoint(self) -> str:
        return self.config.tokenizer

    @property
    def takes_features(self) -> bool:
        """Whether it hears features of the encoder, and so takes audio alone."""
        return self.config.front.feature_dim is not None

    @property
    def layer_importance(self) -> dict[Layer, float]:
        """Mean share of each layer over the clips that the model was validated on; they sum to 1.

        As `layer_weights`. Empty where the layers are averaged.
        """
        return dict(zip(self.layers, self.config.layer_importance, strict=False))

    @torch.inference_mode()
    def layer_weights(
        self,
        audio: Speech,
        *,
        sample_rate: int | None = None,
        lengths: Sequence[int] | AudioArray | None = None,
    ) -> Tensor:
        """How much of each frame comes from which layer: float32 [batch, layers, frames], 0 past each clip's frames.

        In each frame they sum to 1 over `layers`: the weights of attention; or the gates, or the norms of what the map
        of each layer adds to a concatenation, divided by their sum. Arguments and errors as in `Tokenizer.encode`.
        """
        inputs, present = self._inputs(audio, sample_rate, lengths)

        def weigh(batch: Tensor, frames: Tensor, numbers: list[int]) -> Tensor:
            weights: Tensor = self.network.front(batch, frames, _expand(present, batch))[1].transpose(1, 2)
            return weights

        # The weights of a frame depend on that frame alone, so windows need no context.
        answers = run(weigh, inputs, Windows(_WINDOW_FRAMES, 0, 0), _BATCH_FRAMES)
        return pad_sequence(join(answers), batch_first=True).transpose(1, 2)

    @torch.inference_mode()
    def _outputs(
        self, audio: Speech, sample_rate: int | None, lengths: Sequence[int] | AudioArray | None
    ) -> list[Tensor]:
        """What the head makes of each clip: [steps, ...] or [...]. A clip gets the same alone and beside any others."""
        inputs, present = self._inputs(audio, sample_rate, lengths)
        step = self.network.head.frames_per_step

        def answer(batch: Tensor, frames: Tensor, numbers: list[int]) -> Tensor:
            outputs: Tensor = self.network(batch, frames, _expand(present, batch))
            return outputs[:, None] if step is None else outputs

        if step is None:
            windows = Windows(math.inf, 0, 0)
        else:
            chunk, context = (frames // step * step for frames in (_WINDOW_FRAMES, _CONTEXT_FRAMES))
            windows = Windows(chunk, context, context)
        outputs = join(run(answer, inputs, windows, _BATCH_FRAMES, frames_per_step=step or 1))
        return [output[0] for output in outputs] if step is None else outputs

    def _inputs(
        self, audio: Speech, sample_rate: int | None, lengths: Sequence[int] | AudioArray | None
    ) -> tuple[list[Tensor], Tensor | None]:
        """Codes [rows, frames] or features [layers, frames, dim] of each clip, and which layers there are [1, layers].

        Raises:
            AudioError, TokensError, LayerError: as in `Tokenizer.encode`; tokens of another tokenizer, without a layer
                that the model needs, or of utterances without a frame; tokens for a model that takes features.
        """
        if self.takes_features:
            return self._features(audio, sample_rate, lengths), None
        if not isinstance(audio, Tokens):
            audio = self.tokenizer.encode(audio, sample_rate=sample_rate, lengths=lengths, layers=self.layers)
        if audio.fingerprint != self.fingerprint:
            raise TokensError(
                f"these tokens are of tokenizer {with_edition(audio.fingerprint)}, this {type(self).__name__} takes "
                f"those of {with_edition(self.fingerprint)}: encode with {self.config.tokenizer}"
            )
        there = [layer for layer in self.layers if layer in audio.layers]
        missing = [layer for layer in self.layers if layer not in there]
        if missing and not (self.config.front.any_layers and there):
            raise LayerError(
                f"this {type(self).__name__} needs the tokens of layers {list(self.layers)}, "
                f"these lack {missing}: encode with all of them"
            )
        if int(audio.lengths.min()) == 0:
            raise TokensError(f"utterance {int(audio.lengths.argmin())} of these tokens has no frames: leave it out")
        codes = audio.codes.new_zeros(len(audio), len(self.codebooks.sizes), audio.codes.shape[2])
        for layer in there:
            sizes, own = audio.codebooks[layer], self.codebooks[layer]
            if sizes[: len(own)] != own:
                raise TokensError(
                    f"layer {layer} of these tokens has codebooks of {list(sizes)} codes, this {type(self).__name__} "
                    f"takes {list(own)}"
                )
            # A model may do with the first residual stages of a layer.
            first = audio.codebooks.rows[layer].start
            codes[:, self.codebooks.rows[layer]] = audio.codes[:, first : first + len(own)]
        codes = codes.to(self.device)
        present = None
        if missing:
            present = torch.tensor([[layer in there for layer in self.layers]], device=self.device)
        return [clip[:, :length] for clip, length in zip(codes, audio.lengths.tolist(), strict=True)], present

    def _features(
        self, audio: Speech, sample_rate: int | None, lengths: Sequence[int] | AudioArray | None
    ) -> list[Tensor]:
        if isinstance(audio, Tokens):
            raise TokensError(f"this {type(self).__name__} takes features, not tokens: pass the audio")
        recordings = open_recordings(
            audio, sample_rate=sample_rate, target_sample_rate=self.sample_rate, lengths=lengths
        )
        encoder = self.tokenizer.encoder
        clips = Clips(encoder, recordings, self.layers, encoder.framing.windows())
        return [features.float().to(self.device) for features in run_all(clips, progress=False)]


def _expand(present: Tensor | None, batch: Tensor) -> Tensor | None:
    """Which layers there are, [1, layers], for each input of a batch."""
    return None if present is None else present.expand(len(batch), -1)
