"""Clips of speech, and what they come from."""
