"""Recordings: reading and writing files, what callers may pass, samples <-> frames."""
