"""Readers of other people's checkpoints. None executes anything that a file says: see docs/security.md."""

from __future__ import annotations

from semtok.checkpoints.untrusted.centroids import read_centroids
from semtok.checkpoints.untrusted.hyperparams import read_yaml
from semtok.checkpoints.untrusted.state_dict import read_state_dict

__all__ = ["read_centroids", "read_state_dict", "read_yaml"]
