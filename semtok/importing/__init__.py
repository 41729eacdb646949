"""The names under which version 0.1 had the imports; they live in `semtok.checkpoints.importing`."""

from __future__ import annotations

from semtok.checkpoints.importing import import_kmeans, import_speechbrain

__all__ = ["import_kmeans", "import_speechbrain"]
