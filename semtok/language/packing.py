"""Sequences of any length -> rows of one length, as a dataset of `datasets`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from semtok.errors import ConfigError, TokensError, needs_extra

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100
"""Label that a loss passes over, as transformers has it."""


def pack(sequences: Iterable[Tensor], length: int, *, padding_id: int) -> Dataset:
    """Joins sequences [n] of ids end to end, and cuts them into rows of `length`; the last one is padded.

    Nothing is left out. A sequence may go on in the next row.

    Args:
        sequences: 1-D, as `UnitVocabulary.to_ids` gives them in the layout `flattened`.
        length: of each row.
        padding_id: for the rest of the last row; its labels are ignored.

    Returns:
        A dataset with the columns `input_ids`; `labels`, the ids, but -100 for padding and for the first id of each
        sequence, which nothing predicts; and `position_ids`, which start at 0 in each sequence: with `use_cache=False`,
        transformers' models then do not attend from one sequence to the one before it.

    Raises:
        TokensError: no sequences, or one that is not 1-D.
        ConfigError: a length below 1.
    """
    if length < 1:
        raise ConfigError(f"rows must have a length of at least 1, got {length}")
    ids, positions = [], []
    for number, sequence in enumerate(sequences):
        if sequence.ndim != 1:
            raise TokensError(
                f"sequence {number} has shape {list(sequence.shape)}, pack takes [length]: use the layout flattened"
            )
        ids.append(sequence.cpu().numpy())
        positions.append(np.arange(len(sequence)))
    if not ids:
        raise TokensError("there are no sequences to pack")
    total = sum(map(len, ids))
    missing = -total % length
    stream = np.concatenate([*ids, np.full(missing, padding_id)])
    places = np.concatenate([*positions, np.arange(missing)])
    labels = np.where(places == 0, IGNORED, stream)
    labels[total:] = IGNORED
    columns = {"input_ids": stream, "labels": labels, "position_ids": places}
    with needs_extra("train"):
        from datasets import Dataset, Features, List, Value

        return Dataset.from_dict(
            {name: column.reshape(-1, length) for name, column in columns.items()},
            features=Features({name: List(Value("int32"), length=length) for name in columns}),
        )
