"""Networks only: no files, no hub."""
