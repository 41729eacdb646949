"""What tokenizer, vocoder, models of tasks and language models have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from semtok.checkpoints.card import Card, CardFacts, write_card
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.publish import publish
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.layers import Layer
from semtok.errors import CheckpointError

if TYPE_CHECKING:
    from typing_extensions import Self


class Pretrained(ABC):
    """A frozen network and what the config of its checkpoint says of it.

    Args:
        config: dataclass with at least `codebooks`, `sample_rate`, `hop_length` and `fingerprint`.
        network: taken over, not copied: put in eval mode and its parameters frozen.

    Attributes:
        repository: what `from_pretrained` read; None for a model that was made otherwise.
        source: the repository's folder, or "owner/name@commit"; None as for `repository`.
    """

    config: Any
    repository: Repository | None = None
    source: str | None = None

    def __init__(self, config: Any, network: nn.Module) -> None:
        self.config = config
        self.network = network.requires_grad_(False).eval()

    @abstractmethod
    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves the model to a folder."""

    @abstractmethod
    def card(self, folder: Path, name: str) -> Card:
        """What the model card says of a folder that holds this model and perhaps others; `name` is its hub id."""

    def loaded_from(self, repository: Repository) -> Self:
        """Notes where the model was read, so that others that it needs are found with the same access."""
        self.repository, self.source = repository, str(repository)
        return self

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        license: str | None = None,
        datasets: Sequence[str] = (),
        evaluation: str | os.PathLike[str] | None = None,
    ) -> str:
        """Pushes what `save_pretrained` saves, and a model card, to the Hugging Face Hub in one commit.

        A tokenizer and its vocoder may be pushed to the same repository, one after the other. A card that somebody
        wrote or changed stays as it is.

        Args:
            repo_id: "owner/name"; made if there is none.
            private: make it private; refused if it is there and public.
            token: access token that may write; by default that of `hf auth login`.
            revision: branch, made from the main one if there is none; the main one by default.
            commit_message: by default says what was pushed.
            license: for the card, as the hub names them: "apache-2.0".
            datasets: for the card, hub ids of the training data.
            evaluation: for the card, `resynthesis.json` of `semtok evaluate`, by the model's tokenizer.

        Returns:
            The commit, for `from_pretrained(..., revision=)`.

        Raises:
            CheckpointError: the hub refuses or cannot be reached; the repository holds something else, or a part of
                another tokenizer; the evaluation is of another tokenizer. The repository then has all files that it had
                before, or may have been made and is empty.
        """
        return publish(
            self.save_pretrained,
            repo_id,
            private=private,
            token=token,
            revision=revision,
            commit_message=commit_message or f"Add {type(self).__name__.lower()} {self.fingerprint}",
            card=lambda folder: write_card(
                self.card(folder, repo_id), repo_id, CardFacts(license, datasets, evaluation)
            ),
        )

    @property
    def codebooks(self) -> Codebooks:
        """Layers, in order, and the codebook sizes of their residual stages."""
        codebooks: Codebooks = self.config.codebooks
        return codebooks

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Encoder layers that have codebooks here, in their order; 1 is the output of the first transformer layer."""
        return self.codebooks.layers

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms."""
        sample_rate: int = self.config.sample_rate
        return sample_rate

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        hop_length: int = self.config.hop_length
        return hop_length

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length

    @property
    def fingerprint(self) -> str:
        """Hash of the tokenizer's encoder and centroids; tokens and vocoders carry that of their tokenizer."""
        fingerprint: str = self.config.fingerprint
        return fingerprint

    @property
    def device(self) -> torch.device:
        """Where the network runs, and where what it makes is."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's parameters."""
        return next(self.network.parameters()).dtype

    def to(self, device: str | torch.device) -> Self:
        """Moves the network, and returns self."""
        self.network.to(device)
        return self

    def _check_exact(self) -> None:
        """Refuses to save weights that were rounded on loading."""
        if self.dtype != torch.float32:
            raise CheckpointError(
                f"the weights are rounded to {self.dtype} and would be saved as if exact: load in float32 to save"
            )
