"""What tokenizer and vocoder have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from semtok.checkpoints.card import CardFacts
from semtok.checkpoints.config import TokenizerConfig
from semtok.checkpoints.publish import publish
from semtok.codebooks.layers import check_layers, row_slices
from semtok.errors import CheckpointError, TokensError
from semtok.networks.config import VocoderConfig
from semtok.tokens import Tokens


class Pretrained(ABC):
    """A frozen network and what the config of its checkpoint says of it.

    Args:
        config: section of `config.json`.
        network: taken over, not copied: put in eval mode and its parameters frozen.

    Attributes:
        source: where `from_pretrained` found it: a folder, or "owner/name@commit"; None if it was made otherwise.
    """

    source: str | None = None

    def __init__(self, config: TokenizerConfig | VocoderConfig, network: nn.Module) -> None:
        self.config = config
        self._network = network.requires_grad_(False).eval()

    @abstractmethod
    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves this part of a checkpoint to a folder."""

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
            evaluation: for the card, `resynthesis.json` of `semtok evaluate`.

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
            facts=CardFacts(license, datasets, evaluation),
        )

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length

    @property
    def fingerprint(self) -> str:
        """Hash of the tokenizer's encoder and centroids; tokens and vocoders carry that of their tokenizer."""
        return self.config.fingerprint

    @property
    def device(self) -> torch.device:
        """Where the network runs, and where what it makes is."""
        return next(self._network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's parameters."""
        return next(self._network.parameters()).dtype

    def _check_exact(self) -> None:
        """Refuses to save weights that were rounded on loading."""
        if self.dtype != torch.float32:
            raise CheckpointError(
                f"the weights are rounded to {self.dtype} and would be saved as if exact: load in float32 to save"
            )

    def _take(self, tokens: Tokens, layers: Iterable[int] | None = None) -> Tokens:
        """The tokens of the layers asked for, or all, once they are found to be of this checkpoint.

        Raises:
            TokensError: they are another tokenizer's, or of other codebooks.
            LayerError: a layer that the tokens have not, or that is not here, or twice the same.
        """
        owner = f"this {type(self).__name__.lower()}"
        if not isinstance(tokens, Tokens):
            raise TokensError(f"expected Tokens as Tokenizer.encode gives them, got {type(tokens).__name__}")
        if tokens.fingerprint != self.fingerprint:
            raise TokensError(
                f"these tokens are of tokenizer {tokens.fingerprint}, {owner} takes those of {self.fingerprint}: "
                "encode and decode with the same checkpoint"
            )
        if layers is not None:
            tokens = tokens.select(layers)
        check_layers(tokens.layers, self.config.layers, owner=owner)
        slices = dict(zip(self.config.layers, row_slices(self.config.stages), strict=True))
        expected = [self.config.codebook_sizes[slices[layer]] for layer in tokens.layers]
        if [tokens.codebook_sizes[rows] for rows in row_slices(tokens.stages)] != expected:
            raise TokensError(
                f"these tokens of layers {tokens.layers} with stages {tokens.stages} have codebook_sizes "
                f"{tokens.codebook_sizes}, {owner} has {tuple(size for sizes in expected for size in sizes)}"
            )
        return tokens


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """The floating-point type asked for, by name or as torch has it; float32 by default.

    Raises:
        CheckpointError: it is none.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise CheckpointError(f"dtype must be 'float32', 'bfloat16' or 'float16', got {dtype!r}")
    return found


def check_compiler(device: str | torch.device) -> None:
    """Makes sure that `torch.compile` works on a device, with the least that can be compiled.

    Raises:
        CheckpointError: it does not.
    """
    try:
        # Without its cache: what was compiled before needs no compiler.
        compiled = torch.compile(lambda x: -x, options={"fx_graph_cache": False})
        compiled(torch.zeros(2, device=device))
    except RuntimeError as error:
        needed = "a C++ compiler (g++, say from your system's packages)"
        if torch.device(device).type != "cpu":
            needed = f"Triton (pip install triton) and {needed}"
        raise CheckpointError(
            f"compile=True needs {needed}; install it, or load without compile (torch.compile failed with: "
            f"{str(error).strip().splitlines()[0]})"
        ) from error
