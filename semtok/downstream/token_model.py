"""What models of tasks and language models have in common: they work on the tokens of one checkpoint."""

from __future__ import annotations

import functools
import os
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from semtok.checkpoints.hub import BUNDLED_MODELS, Repository, bundled_names, resolve
from semtok.checkpoints.pretrained import Pretrained
from semtok.codebooks.editions import with_edition
from semtok.downstream.bundled_models import check_name
from semtok.errors import CheckpointError
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder

if TYPE_CHECKING:
    from typing_extensions import Self

Part = TypeVar("Part", Tokenizer, Vocoder)


class TokenModel(Pretrained):
    """A model on the tokens of a checkpoint, of which it loads the tokenizer and the vocoder when they are needed."""

    @property
    @abstractmethod
    def checkpoint(self) -> str:
        """Bundled name, hub id or folder of the tokenizer and the vocoder."""

    @classmethod
    @abstractmethod
    def load(cls, repository: Repository, device: torch.device) -> Self:
        """The model that a repository holds; errors as in `from_pretrained`."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        tokenizer: Tokenizer | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        device: str | torch.device | None = None,
    ) -> Self:
        """Loads a model; `DownstreamModel` loads that of any task.

        Args:
            name: a bundled name such as "tiny-tts", a folder, or a hub id "owner/name".
            tokenizer: the model's, if it is loaded already or is not where the model says; by default it is loaded from
                there when it is needed.
            revision, cache_dir, token, local_files_only, device: as in `Tokenizer.from_pretrained`. All of them but the
                revision also hold for the tokenizer and the vocoder that the model loads.

        Raises:
            CheckpointError: the name, a file or a revision does not exist; a file is corrupt or does not fit; the model
                is of another kind or task, or the tokenizer another one.
            ConfigError: the config has unknown, missing or ill-typed entries, or some that contradict each other.
        """
        check_name(name)
        repository = resolve(
            name,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            bundled=BUNDLED_MODELS,
        )
        model = cls.load(repository, torch.device(device or torch.get_default_device())).loaded_from(repository)
        if tokenizer is not None:
            model.tokenizer = model.checked(tokenizer)
        return model

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """That of the model's checkpoint, with the model's layers, loaded when first needed.

        Raises:
            CheckpointError: it is not where the model says, or it is another one.
        """
        return self.checked(Tokenizer.load(self._part(), layers=self.layers, device=self.device))

    @functools.cached_property
    def vocoder(self) -> Vocoder:
        """That of the model's checkpoint, loaded when first needed; another may be set in its place.

        Raises:
            CheckpointError: the checkpoint has no vocoder, or is another one.
        """
        return self.checked(Vocoder.load(self._part(), device=self.device))

    def _part(self) -> Repository:
        """The checkpoint, with the access that the model was given."""
        return resolve(self.checkpoint) if self.repository is None else self.repository.at(self.checkpoint)

    def checked(self, part: Part) -> Part:
        """A tokenizer or a vocoder, if it is the model's.

        Raises:
            CheckpointError: it is another one.
        """
        if part.fingerprint != self.fingerprint:
            raise CheckpointError(
                f"this model is of tokenizer {with_edition(self.fingerprint)} ({self.checkpoint}), the "
                f"{type(part).__name__.lower()} is of {with_edition(part.fingerprint)}: "
                "pass the model's own as tokenizer=, or train the model anew"
            )
        return part

    def to(self, device: str | torch.device) -> Self:
        """Moves the model, and its tokenizer and vocoder, to a device."""
        for part in ("tokenizer", "vocoder"):
            if part in vars(self):
                setattr(self, part, getattr(self, part).to(device))
        return super().to(device)

    def _check_checkpoint_is_public(self) -> None:
        """Refuses a checkpoint that whoever loads the model from the hub has not."""
        if self.checkpoint not in bundled_names() and Path(self.checkpoint).exists():
            raise CheckpointError(
                f"the model's tokenizer is the folder {self.checkpoint}, which others have not: push the tokenizer "
                "first, then train or save with its hub id as `tokenizer`"
            )
