"""Codebooks: layers, stages and rows of codes, the quantizer, the fingerprint."""
