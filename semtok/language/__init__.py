"""Speech tokens for language models: vocabularies, sequences and their exact inverses."""

from semtok.language.durations import deduplicate, repeat
from semtok.language.packing import pack
from semtok.language.vocabulary import UnitVocabulary

__all__ = ["UnitVocabulary", "deduplicate", "pack", "repeat"]
