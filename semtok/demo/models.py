"""Checkpoints and models by name, kept once they are loaded. All visitors share them; nothing changes them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeVar

from semtok.downstream import DownstreamModel
from semtok.errors import CheckpointError
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder

Model = TypeVar("Model", bound=DownstreamModel)

# Bounds memory, where visitors may name any.
_MOST_LOADED = 4


@dataclass(frozen=True)
class Checkpoint:
    """A tokenizer of the layers that can be heard, and its vocoder.

    Args:
        vocoder: None where the checkpoint has none, for the reason in `silent`.
    """

    tokenizer: Tokenizer
    vocoder: Vocoder | None
    silent: str = ""

    @property
    def takes_voice(self) -> bool:
        """Whether a recording can say in whose voice to decode."""
        return self.vocoder is not None and self.vocoder.network.speaker_encoder is not None


class Shelf:
    """Loads by name: a bundled name, a folder or a hub id.

    Args:
        device: where networks run.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        # an error is not kept: what is not there now may come
        self.checkpoint = functools.lru_cache(_MOST_LOADED)(self._load_checkpoint)
        self._model = functools.lru_cache(_MOST_LOADED)(self._load_model)

    def model(self, kind: type[Model], name: str) -> Model:
        """A model of a task.

        Raises:
            SemtokError: as `from_pretrained`; it is of another task.
        """
        model = self._model(name)
        if not isinstance(model, kind):
            raise CheckpointError(f"{name} is a model of task {model.task!r}, expected one of {kind.task!r}")
        return model

    def _load_checkpoint(self, name: str) -> Checkpoint:
        """Raises as `Tokenizer.from_pretrained`."""
        try:
            vocoder = Vocoder.from_pretrained(name, device=self._device)
        except CheckpointError as error:
            return Checkpoint(Tokenizer.from_pretrained(name, device=self._device), None, str(error))
        return Checkpoint(Tokenizer.from_pretrained(name, layers=vocoder.layers, device=self._device), vocoder)

    def _load_model(self, name: str) -> DownstreamModel:
        """Raises as `DownstreamModel.from_pretrained`, and where the model's tokenizer cannot be loaded."""
        model = DownstreamModel.from_pretrained(name, device=self._device)
        _ = model.tokenizer  # now, and not by two visitors at once
        return model
