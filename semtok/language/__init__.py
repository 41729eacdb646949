"""Speech tokens for language models: vocabularies, sequences and their exact inverses."""

from semtok.language.bpe import UnitBPE
from semtok.language.durations import deduplicate, repeat, spans
from semtok.language.interleave import draw_spans, interleave, separate
from semtok.language.packing import pack
from semtok.language.vocabulary import UnitVocabulary
from semtok.language.words import Word, read_words, shuffle_words

__all__ = [
    "UnitBPE",
    "UnitVocabulary",
    "Word",
    "deduplicate",
    "draw_spans",
    "interleave",
    "pack",
    "read_words",
    "repeat",
    "separate",
    "shuffle_words",
    "spans",
]
