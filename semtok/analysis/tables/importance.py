"""The table of layer importance: how models of tasks weight the layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from semtok.analysis.tables.table import Table

if TYPE_CHECKING:
    from semtok.downstream import DownstreamModel


def importance(models: Mapping[str, DownstreamModel]) -> Table:
    """Mean weight that trained models of tasks, by name, give each layer; see `DownstreamModel.layer_importance`."""
    rows, notes = [], []
    for name, model in models.items():
        weights = model.layer_importance
        rows += [{"model": name, "task": model.task, "layer": layer, "weight": of} for layer, of in weights.items()]
        if not weights:
            notes.append(f"{name} does not weight its layers by attention.")
    return Table(rows, notes)
