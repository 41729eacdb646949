"""The errors a caller may want to catch. Each is a `ValueError` too, and says what arrived and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SemtokError(Exception):
    """Base of every error semtok raises on purpose."""


class AudioError(SemtokError, ValueError):
    """Raised when audio, or a file of it, cannot be read, used or written."""


class LayerError(SemtokError, ValueError):
    """Raised when layers are asked for that are not there, or asked for twice."""


class TokensError(SemtokError, ValueError):
    """Raised when tokens, or a file of them, are malformed or come from another tokenizer."""


class SpeakerError(SemtokError, ValueError):
    """Raised when a speaker is asked for or given where there can be none, or as no embedding of the right size."""


class TextError(SemtokError, ValueError):
    """Raised when a text is empty, has characters that a model does not know, or does not fit its speech."""


class CheckpointError(SemtokError, ValueError):
    """Raised when a checkpoint cannot be found, read or written, or its parts contradict each other."""


class CorpusError(SemtokError, ValueError):
    """Raised when a corpus of tokens, or what it is made of, cannot be read, written or extended."""


class TrainingError(SemtokError, ValueError):
    """Raised when a training cannot go on: its loss is not finite, or its state cannot be written, read or used."""


class ConfigError(SemtokError, ValueError):
    """Raised when a config file has an unknown, missing or ill-typed entry."""


LARGEST_SIZE = 1 << 20
"""Of anything that a network has in one place: channels, codes, samples of a window, Hz."""
MOST_LAYERS = 256
"""Of a network: layers or blocks that are alike."""


def check_positive(config: object, *names: str) -> None:
    """Raises `ConfigError` if one of these entries of a config is less than 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, got {getattr(config, name)}")


def check_sizes(config: object, *names: str, most: int = LARGEST_SIZE) -> None:
    """Checks sizes of a network, each a number, a tuple of numbers, or None, which is passed over.

    Raises:
        ConfigError: one of the numbers is less than 1 or more than `most`, or a tuple has more than 16.
    """
    for name in names:
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if len(numbers) > 16:
            raise ConfigError(f"{name} must be at most 16 numbers, got {len(numbers)}")
        if not all(1 <= number <= most for number in numbers):
            bound = f"at least 1, got {min(numbers)}" if min(numbers) < 1 else f"at most {most}, got {max(numbers)}"
            raise ConfigError(f"{name} must be {bound}")


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Turns a module that is not installed into a `SemtokError` with the pip command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "semtok":
            raise
        raise missing_extra(name, [error.name]) from error


def missing_extra(name: str, modules: list[str]) -> SemtokError:
    """The error of modules that an extra would have brought: with the one form of pip that works for all.

    By name, `pip install 'semtok[eval]'`, would ask an index, on which whatever is called semtok is not this.
    """
    return SemtokError(
        f"this needs {', '.join(modules)}, not installed here; in the clone of semtok: pip install '.[{name}]'"
    )
