"""The editions of the bundled `tiny`, so that who is refused reads more than two fingerprints."""

from __future__ import annotations

_EDITIONS = {
    "f12de3d3d1945331": "the first edition of tiny",
    "cc52e70fdeb35925": "the second edition of tiny",
    "8cf35db58c8a5871": "the third edition of tiny",
    "847994f43066f1c4": "the fourth edition of tiny",
}


def with_edition(fingerprint: str) -> str:
    """A fingerprint, and of which edition of `tiny` it is, if it is of one."""
    edition = _EDITIONS.get(fingerprint)
    return fingerprint if edition is None else f"{fingerprint} ({edition})"
