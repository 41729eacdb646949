"""Recordings: reading and writing files, what callers may pass, samples <-> frames."""

from __future__ import annotations

from semtok.audio.io import load_audio, save_audio

__all__ = ["load_audio", "save_audio"]
