"""Models of transformers: loaded quietly, whatever the config asks for, with its global state as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.untrusted.source import loading
from semtok.errors import CheckpointError, SemtokError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SPARE_WEIGHTS = 1 << 20
# Held while transformers is imported, as other threads would see a half of it, and while a model is loaded, which
# changes transformers' global state.
_TRANSFORMERS_LOCK = threading.Lock()


def load_model(
    model_class: Any, config: Any, weights: dict[str, Tensor], path: Path
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """A model of transformers with these weights, in float32, and transformers' report of what is missing.

    Raises:
        CheckpointError: the config asks for far more than there is, or transformers refuses; `path` is that of the
            weights.
    """
    with loading(path), quiet_transformers(), torch.device("meta"):
        wanted = sum(tensor.numel() for tensor in model_class(config).parameters())
    # Weights that are missing or of another shape are in the report, once so many numbers are known to fit into memory.
    if wanted > 2 * (stored := sum(tensor.numel() for tensor in weights.values())) + _SPARE_WEIGHTS:
        raise CheckpointError(
            f"{path} does not fit the {CONFIG} beside it: it has {stored} numbers for a model of {wanted}"
        )
    try:
        with loading(path), quiet_transformers():
            # Not from the folder: transformers would look for adapters, indexes and other weights there.
            model, report = model_class.from_pretrained(
                None,
                config=config,
                state_dict=weights,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except ImportError as error:
        raise SemtokError(
            f"transformers cannot be used here, whatever the checkpoint, because of {type(error).__name__}: {error}. "
            "If python -c 'from transformers import AutoModel' fails too, packages are missing or do not fit each other"
        ) from error
    return model, report


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bar, no report of the layers left out; and random numbers stay as they are."""
    with _TRANSFORMERS_LOCK, torch.random.fork_rng(devices=[]):
        from transformers.utils import logging

        verbosity = logging.get_verbosity()
        hook = logging.set_tqdm_hook(lambda factory, args, kwargs: logging.EmptyTqdm(*args, **kwargs))
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_tqdm_hook(hook)
            logging.set_verbosity(verbosity)
