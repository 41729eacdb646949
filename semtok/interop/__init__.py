"""The names that version 0.1 had for the readers of strangers' files, now in `semtok.checkpoints.untrusted`."""

from __future__ import annotations

from semtok.checkpoints.untrusted import read_centroids, read_state_dict, read_yaml

__all__ = ["read_centroids", "read_state_dict", "read_yaml"]
