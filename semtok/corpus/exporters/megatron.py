"""Documents of ids in one file, and an index of where each begins: the indexed dataset of Megatron-LM, version 1."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semtok.corpus.exporters.exporter import check_columns, join_names, new_folder, one_line
from semtok.corpus.exporters.vocabulary import FILE, vocabulary_of
from semtok.corpus.plan import id_hash
from semtok.corpus.reading import TokenClip, TokenCorpus
from semtok.errors import CorpusError
from semtok.language.interleave import draw_spans, interleave
from semtok.language.vocabulary import UnitVocabulary
from semtok.language.words import read_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_TYPES = {np.dtype(np.uint16): 8, np.dtype(np.int32): 4}
# What Megatron itself takes for ids of two bytes.
_SMALL = 65_500
# Words in a span of speech or of text, in the mean.
_SPAN_WORDS = 10
_TOKENIZER = "tokenizer"


def export_megatron(
    corpus: TokenCorpus,
    folder: Path,
    *,
    vocabulary: Path | None = None,
    text_tokenizer: str | None = None,
    words: Path | None = None,
) -> list[Path]:
    """Writes `codes.bin`, `codes.idx`, `codes.json` and `vocabulary.json`; a clip is a document, its ids are those of a
    `UnitVocabulary`, begin and end included, and then comes the end of the document.

    Args:
        corpus: of the tokens.
        folder: a new one.
        vocabulary: a file that `UnitVocabulary.save` wrote; by default of all rows.
        text_tokenizer: name or folder of a tokenizer of transformers. The text of a clip stands before its speech, the
            end of a document is the tokenizer's, and `tokenizer/` is the tokenizer with the tokens of speech added. By
            default there is no text, and the end of a document is the id after those of the vocabulary.
        words: file of the words of each clip and their times, as `semtok.language.read_words` reads it. Speech and
            text then change between words, in spans of ten words in the mean.

    Returns:
        What was written.

    Raises:
        CorpusError: as `vocabulary_of`; a text tokenizer that cannot be read or has no end token; clips without a text
            or words; a folder that has something in it.
        TextError, TokensError: as `read_words` and `interleave`.
    """
    units = vocabulary_of(corpus, vocabulary)
    if text_tokenizer is None:
        if words is not None:
            raise CorpusError("words are written as text: name a text tokenizer too")
        hf_tokenizer, end = None, units.end_id + 1
    else:
        hf_tokenizer = _read_tokenizer(text_tokenizer)
        units, end = _joined(units, hf_tokenizer), int(hf_tokenizer.eos_token_id)
    to_ids = _document(corpus, units, hf_tokenizer, words)
    size = end + 1 if hf_tokenizer is None else len(hf_tokenizer)
    dtype = np.dtype(np.uint16 if size <= _SMALL else np.int32)
    lengths = array("i")
    facts = {"vocabulary_size": size, "end_of_document": end, "fingerprint": units.fingerprint}
    names = ["codes.bin", "codes.idx", "codes.json", FILE, *([_TOKENIZER] if hf_tokenizer else [])]
    with new_folder(folder) as aside:
        with (aside / "codes.bin").open("wb") as file:
            for clip in corpus:
                ids = np.append(to_ids(clip).numpy(), end).astype(dtype)
                file.write(ids.tobytes())
                lengths.append(ids.size)
        counts = np.array(lengths, np.int32)
        starts = np.cumsum(np.concatenate([[0], counts[:-1]]), dtype=np.int64)[: len(counts)] * dtype.itemsize
        with (aside / "codes.idx").open("wb") as file:
            file.write(_MAGIC + struct.pack("<QBQQ", _VERSION, _TYPES[dtype], len(counts), len(counts) + 1))
            file.write(counts.tobytes() + starts.tobytes())
            file.write(np.arange(len(counts) + 1, dtype=np.int64).tobytes())
        (aside / "codes.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        units.save(aside / FILE)
        if hf_tokenizer is not None:
            hf_tokenizer.save_pretrained(aside / _TOKENIZER)
    return [folder / name for name in names]


def _read_tokenizer(name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        hf_tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise CorpusError(f"{name} is no tokenizer of transformers that can be read: {error}") from error
    if hf_tokenizer.eos_token_id is None:
        raise CorpusError(f"the tokenizer {name} has no end token (eos_token), which ends a document: give it one")
    return hf_tokenizer


def _joined(units: UnitVocabulary, hf_tokenizer: Any) -> UnitVocabulary:
    """The vocabulary where the tokenizer has it, or after the tokens of text, to which it is added."""
    known = units.names[0] in hf_tokenizer.get_vocab()
    return units.located_in(hf_tokenizer) if known else units.extend(hf_tokenizer)


def _document(
    corpus: TokenCorpus, units: UnitVocabulary, hf_tokenizer: Any, words: Path | None
) -> Callable[[TokenClip], Tensor]:
    """What makes the ids of a clip; `CorpusError`, which names them, for clips that lack what they are made of."""
    if hf_tokenizer is None:
        return lambda clip: units.to_ids(clip.tokens)[0]
    if words is None:
        check_columns(corpus, "text in documents", "text")

        def text_before(clip: TokenClip) -> Tensor:
            text = hf_tokenizer.encode(one_line(clip.columns["text"]), add_special_tokens=False)
            return torch.cat([torch.tensor(text, dtype=torch.int64), *units.to_ids(clip.tokens)])

        return text_before
    spoken = read_words(words)
    if missing := [facts["path"] for facts in corpus.facts("path") if _stem(facts["path"]) not in spoken]:
        raise CorpusError(f"{words} has no words of these clips: {join_names(missing)}")

    def in_turns(clip: TokenClip) -> Tensor:
        uttered = spoken[_stem(clip.path)]
        turns = draw_spans(len(uttered), _SPAN_WORDS, np.random.default_rng(id_hash(clip.id)))
        return interleave(clip.tokens, uttered, turns, units, hf_tokenizer)

    return in_turns


def _stem(path: str) -> str:
    return str(Path(path).with_suffix(""))
