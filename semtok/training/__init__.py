"""Training of encoders, codebooks and vocoders; needs the extra `train`. `python -m semtok.training --help`."""
