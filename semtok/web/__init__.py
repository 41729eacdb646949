"""The page to listen, without a server of its own: rows of versions of a recording under one transport.

Its script and style are put into the page of `semtok demo`, which has Python encode and decode, and into the folder
that `semtok export web` writes, whose engine runs in the browser. They depend on nothing.
"""

from __future__ import annotations

from pathlib import Path

from semtok.web.examples import EXAMPLES, Example
from semtok.web.versions import versions_of

__all__ = ["EXAMPLES", "Example", "script", "style", "versions_of"]

_SCRIPTS = ("audio.js", "transport.js", "codes.js", "versions.js", "page.js")


def script() -> str:
    """JavaScript that defines `semtok.listen(element, spec, engine)`; see page.js."""
    return "\n".join(_read(name) for name in _SCRIPTS)


def style() -> str:
    """CSS of an element of class `semtok`."""
    return _read("style.css")


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
