"""The vocabulary in which a corpus is written for a language model."""

from __future__ import annotations

from pathlib import Path

from semtok.corpus.reading import TokenCorpus
from semtok.errors import CorpusError
from semtok.language.vocabulary import UnitVocabulary

FILE = "vocabulary.json"
"""Where an export says which id stands for which code."""
_ONE_ROW = "<|s_{code}|>"


def vocabulary_of(corpus: TokenCorpus, path: Path | None) -> UnitVocabulary:
    """The vocabulary of a file, or one of all rows of a corpus: `<|s_12|>`, or `<l7_12>` where there are several.

    Raises:
        CorpusError: a vocabulary of another tokenizer, or of rows that the corpus does not have in this order; one
            whose layout is not one sequence.
        CheckpointError, ConfigError: as `UnitVocabulary.load`.
    """
    run, codebooks = corpus.run, corpus.codebooks
    if path is None:
        template = _ONE_ROW if len(codebooks.sizes) == 1 else UnitVocabulary.template
        return UnitVocabulary(codebooks, run.frame_rate, run.fingerprint, template=template)
    vocabulary = UnitVocabulary.load(path)
    if vocabulary.fingerprint != run.fingerprint:
        raise CorpusError(
            f"{path} is of tokenizer {vocabulary.fingerprint}, {corpus.folder} holds tokens of {run.fingerprint}: "
            "their ids would mean other codes"
        )
    if vocabulary.codebooks != codebooks:
        raise CorpusError(
            f"{path} has rows {', '.join(vocabulary.codebooks.columns)}, the corpus is read with "
            f"{', '.join(codebooks.columns)}: choose its layers, in its order"
        )
    if vocabulary.layout != "flattened":
        raise CorpusError(f"{path} has the layout {vocabulary.layout}, expected flattened: one sequence of ids")
    return vocabulary
