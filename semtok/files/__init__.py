"""Files of any kind: written whole or not at all."""
