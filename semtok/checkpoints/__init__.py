"""Checkpoints: configs, the hub, semtok's own format, readers of other people's."""
