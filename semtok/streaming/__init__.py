"""Tokens and speech while they arrive."""

from __future__ import annotations

from semtok.streaming.stream import Stream, join_tokens

__all__ = ["Stream", "join_tokens"]
