"""Byte-pair encoding over units: frequent successions of codes become one id (Shen et al., 2024)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from semtok.errors import CheckpointError, ConfigError, TokensError
from semtok.language.vocabulary import UnitVocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = "vocabulary.json"
# Each unit is one character of Unicode's private planes, as `tokenizers` works on text.
_FIRST_CHARACTER, _CHARACTERS = 0xF0000, 0x20000


class UnitBPE:
    """Ids of a `UnitVocabulary` <-> fewer ids, each for a succession of them; without loss.

    Made by `train`, or by `from_pretrained` of what `save_pretrained` saved: a tokenizer in transformers' layout, which
    `PreTrainedTokenizerFast` and `AutoTokenizer` load as well, and the vocabulary.

    Attributes:
        vocabulary: of the units, in the layout `flattened`.
        hf_tokenizer: transformers' tokenizer.
    """

    def __init__(self, vocabulary: UnitVocabulary, hf_tokenizer: PreTrainedTokenizerFast) -> None:
        self.vocabulary, self.hf_tokenizer = vocabulary, hf_tokenizer
        tokens = sorted(hf_tokenizer.get_vocab().items(), key=lambda item: item[1])
        markers = {vocabulary.begin: vocabulary.begin_id, vocabulary.end: vocabulary.end_id}
        first = vocabulary.first_id - _FIRST_CHARACTER
        units = [[markers[token]] if token in markers else [ord(c) + first for c in token] for token, _ in tokens]
        if [number for _, number in tokens] != list(range(len(tokens))) or not all(
            vocabulary.first_id <= unit <= vocabulary.end_id for token in units for unit in token
        ):
            raise CheckpointError("this tokenizer is no byte-pair encoding of the vocabulary's units")
        self._units = [np.array(token) for token in units]

    @classmethod
    def train(cls, vocabulary: UnitVocabulary, sequences: Iterable[Tensor], size: int) -> UnitBPE:
        """Merges the most frequent pair, again and again, until there are `size` ids or no pair occurs twice.

        Args:
            sequences: ids as `vocabulary.to_ids` gives them. Without repetitions (`max_duration`), or with them.

        Raises:
            ConfigError: a layout of several streams, or a size below that of the vocabulary.
            TokensError: ids beyond the vocabulary.
        """
        from tokenizers import AddedToken, Tokenizer, models, trainers
        from transformers import PreTrainedTokenizerFast

        if vocabulary.layout != "flattened" or not len(vocabulary) <= size or len(vocabulary) > _CHARACTERS:
            raise ConfigError(
                f"byte-pair encoding takes the layout flattened, at most {_CHARACTERS} units, and a size of at least "
                f"theirs, got {vocabulary.layout}, {len(vocabulary)} units and a size of {size}"
            )
        markers = [AddedToken(name, normalized=False, special=True) for name in (vocabulary.begin, vocabulary.end)]
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=markers,
            initial_alphabet=[chr(_FIRST_CHARACTER + unit) for unit in range(len(vocabulary) - len(markers))],
            show_progress=False,
        )
        tokenizer = Tokenizer(models.BPE())
        # Begin and end are not to be merged with anything.
        texts = (_to_text(vocabulary, ids, "", "") for ids in sequences)
        tokenizer.train_from_iterator(texts, trainer)
        return cls(
            vocabulary,
            PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=vocabulary.begin, eos_token=vocabulary.end),
        )

    def __len__(self) -> int:
        """How many ids there are."""
        return len(self._units)

    def encode(self, ids: Tensor) -> Tensor:
        """Ids of units, int64 [n] -> ids, int64 [at most n].

        Raises:
            TokensError: ids beyond the vocabulary.
        """
        text = _to_text(self.vocabulary, ids, self.vocabulary.begin, self.vocabulary.end)
        return torch.tensor(self.hf_tokenizer.backend_tokenizer.encode(text).ids, dtype=torch.int64)

    def decode(self, ids: Tensor) -> Tensor:
        """The inverse of `encode`.

        Raises:
            TokensError: ids beyond the encoding.
        """
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(self):
            raise TokensError(f"ids must lie in 0 ... {len(self) - 1}, got {int(ids.min())} to {int(ids.max())}")
        units = [self._units[number] for number in ids.tolist()]
        return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *units]))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Saves `tokenizer.json`, its config, and `vocabulary.json`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.hf_tokenizer.save_pretrained(str(folder))
        self.vocabulary.save(Path(folder) / VOCABULARY)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> UnitBPE:
        """Loads what `save_pretrained` saved.

        Raises:
            CheckpointError: the folder holds no such encoding.
        """
        from transformers import PreTrainedTokenizerFast

        vocabulary = UnitVocabulary.load(Path(folder) / VOCABULARY)
        if not (Path(folder) / "tokenizer.json").is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json: expected what UnitBPE.save_pretrained saved")
        return cls(vocabulary, PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True))


def _to_text(vocabulary: UnitVocabulary, ids: Tensor, begin: str, end: str) -> str:
    """A character a unit, and these texts for begin and end."""
    if ids.ndim != 1 or (len(ids) and not vocabulary.first_id <= int(ids.min()) <= int(ids.max()) <= vocabulary.end_id):
        raise TokensError(
            f"ids must be int64 [length] in {vocabulary.first_id} ... {vocabulary.end_id}, got {list(ids.shape)} in "
            f"{int(ids.min())} ... {int(ids.max())}"
        )
    characters = ids.cpu().numpy() - vocabulary.first_id + _FIRST_CHARACTER
    text = characters.astype("<u4").tobytes().decode("utf-32-le")
    first = _FIRST_CHARACTER - vocabulary.first_id
    return text.replace(chr(vocabulary.begin_id + first), begin).replace(chr(vocabulary.end_id + first), end)
