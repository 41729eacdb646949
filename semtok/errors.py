"""The errors a caller may want to catch. All are `ValueError`s too, and all say what arrived and what to do."""

from __future__ import annotations


class SemtokError(Exception):
    """Base of every error semtok raises on purpose."""


class AudioError(SemtokError, ValueError):
    """Raised when audio, or a file of it, cannot be read, used or written."""


class LayerError(SemtokError, ValueError):
    """Raised when layers are asked for that are not there, or asked for twice."""


class TokensError(SemtokError, ValueError):
    """Raised when tokens, or a file of them, are malformed or come from another tokenizer."""


class CheckpointError(SemtokError, ValueError):
    """Raised when a checkpoint cannot be found, read or written, or its parts contradict each other."""


class ConfigError(SemtokError, ValueError):
    """Raised when a config file has an unknown, missing or ill-typed entry."""
