"""Training of the models of `semtok.downstream`: an objective a task, on tokens made once."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from semtok.downstream.tasks import TASKS
from semtok.training.downstream.objective import Objective


def objective_of(name: str) -> type[Objective[Any]]:
    """What the models of a task are trained by; its file here has the name of the model's file."""
    task = TASKS[name]
    module = import_module(f"{__name__}.{task.file}")
    (objective,) = (
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Objective) and getattr(kind, "model", None) is task.model
    )
    return objective
