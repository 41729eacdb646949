"""Training of a language model on tokens."""
