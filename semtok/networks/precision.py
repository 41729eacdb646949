"""Numerical precision of networks: dtypes, torch.compile, and float32 that the caller's settings do not change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from semtok.errors import CheckpointError


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Computes in full float32 inside, and restores the caller's autocast and precision of products afterwards.

    Autocast is a setting of a thread, so every thread that runs a network enters this context.
    """
    available = torch.amp.is_autocast_available(device.type)
    with torch.autocast(device.type, enabled=False) if available else nullcontext(), _FULL_PRECISION:
        yield


class _FullPrecision:
    """torch's global flags for float32 products: the first thread to enter sets them, the last one to leave restores.

    torch has an older and a newer interface for the same flags, and reading the older one fails after the newer one
    was used. The setters of the older interface change both; afterwards each interface gets its own old value back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._restore: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._restore = list(_saved_settings())
                torch.set_float32_matmul_precision("highest")
                torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for restore in self._restore:
                    restore()


def _saved_settings() -> Iterator[Callable[[], None]]:
    """Functions that restore the present value of each flag, those of the older interface first."""
    backends: Any = torch.backends
    try:
        precision = torch.get_float32_matmul_precision()
        yield lambda: torch.set_float32_matmul_precision(precision)
    except RuntimeError:  # set through the newer interface alone
        pass
    try:
        allowed = backends.cudnn.allow_tf32
        yield lambda: setattr(backends.cudnn, "allow_tf32", allowed)
    except RuntimeError:
        pass
    for part in (backends.cuda.matmul, backends.mkldnn, backends.cudnn):
        for operation in (part, getattr(part, "matmul", None), getattr(part, "conv", None), getattr(part, "rnn", None)):
            # since torch 2.9
            if operation is not None and hasattr(operation, "fp32_precision"):
                yield _setter(operation, operation.fp32_precision)


def _setter(operation: Any, precision: str) -> Callable[[], None]:
    return lambda: setattr(operation, "fp32_precision", precision)


_FULL_PRECISION = _FullPrecision()


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """A floating-point type from its name or torch's object; float32 by default.

    Raises:
        CheckpointError: `dtype` is no floating-point type.
    """
    parsed = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(parsed, torch.dtype) or not parsed.is_floating_point:
        raise CheckpointError(f"dtype must be 'float32', 'bfloat16' or 'float16', got {dtype!r}")
    return parsed


def check_compiler(device: str | torch.device) -> None:
    """Compiles a tiny function for a device, to see whether `torch.compile` works.

    Raises:
        CheckpointError: `torch.compile` fails.
    """
    try:
        # Without its cache: what was compiled before needs no compiler.
        compiled = torch.compile(lambda x: -x, options={"fx_graph_cache": False})
        compiled(torch.zeros(2, device=device))
    except RuntimeError as error:
        needed = "a C++ compiler (g++, say from your system's packages)"
        if torch.device(device).type != "cpu":
            needed = f"Triton (pip install triton) and {needed}"
        raise CheckpointError(
            f"compile=True needs {needed}; install it, or load without compile (torch.compile failed with: "
            f"{str(error).strip().splitlines()[0]})"
        ) from error
