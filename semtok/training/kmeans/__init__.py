"""Training of codebooks."""
