"""The table of layer importance: how models of tasks weight the layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from semtok.analysis.tables.table import Table

if TYPE_CHECKING:
    from semtok.downstream import DownstreamModel


def importance(models: Mapping[str, DownstreamModel]) -> Table:
    """Mean share that each layer has in trained models of tasks, by name; see `DownstreamModel.layer_importance`."""
    rows, notes = [], []
    for name, model in models.items():
        weights = model.layer_importance
        rows += [{"model": name, "task": model.task, "layer": layer, "weight": of} for layer, of in weights.items()]
        if not weights:
            notes.append(f"{name} keeps no shares of its layers: it averages them, or an earlier version trained it.")
    return Table(rows, notes)
