"""Tokens of small codebooks and a text tokenizer, for the tests of language models."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from semtok import Tokens
from semtok.codebooks.codebooks import Codebooks

SIZES = {7: (4,), 1: (3, 2)}
"""Rows 7, 1.1 and 1.2, in this order."""


def make_tokens(*utterances: list[list[int]], sizes=SIZES) -> Tokens:
    """Tokens of utterances, each a list of rows of codes."""
    codebooks = Codebooks(sizes)
    lengths = [len(rows[0]) for rows in utterances]
    codes = torch.full((len(utterances), len(codebooks.sizes), max(lengths)), -1)
    for clip, rows, length in zip(codes, utterances, lengths, strict=True):
        clip[:, :length] = torch.tensor(rows).view(len(rows), length)
    return Tokens(codes, torch.tensor(lengths), codebooks.layers, 50.0, codebooks.sizes, "print", codebooks.stages)


@st.composite
def any_tokens(draw) -> Tokens:
    """Batches of one to three utterances, possibly empty, of one to four rows of small codebooks."""
    sizes = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=2), min_size=1, max_size=2))
    rows = [size for stages in sizes for size in stages]
    utterances = []
    for _ in range(draw(st.integers(1, 3))):
        frames = draw(st.lists(st.tuples(*(st.integers(0, size - 1) for size in rows)), max_size=8))
        utterances.append([[frame[row] for frame in frames] for row in range(len(rows))])
    return make_tokens(*utterances, sizes={layer * 3 % 7: stages for layer, stages in enumerate(sizes, start=1)})


def equal(one: Tokens, other: Tokens) -> bool:
    same = all(getattr(one, name) == getattr(other, name) for name in ("codebooks", "fingerprint", "frame_rate"))
    return same and one.codes.equal(other.codes) and one.lengths.equal(other.lengths)


def make_text_tokenizer() -> Any:
    """A tokenizer of five words, as a text model would bring it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1, "cat": 2, "sat": 3, "down": 4}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
