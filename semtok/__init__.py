"""semtok: discrete speech tokens from the layers of self-supervised encoders, and back to speech from any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semtok.audio.io import load_audio, save_audio
    from semtok.errors import SemtokError
    from semtok.tokenizer import Tokenizer
    from semtok.tokens import Tokens
    from semtok.vocoder import Vocoder

__all__ = ["SemtokError", "Tokenizer", "Tokens", "Vocoder", "load_audio", "save_audio"]
__version__ = "0.2.0"

_HOMES = {
    "SemtokError": "semtok.errors",
    "Tokenizer": "semtok.tokenizer",
    "Tokens": "semtok.tokens",
    "Vocoder": "semtok.vocoder",
    "load_audio": "semtok.audio.io",
    "save_audio": "semtok.audio.io",
}


def __getattr__(name: str) -> Any:
    # On first use, so that the command line's help does not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'semtok' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
