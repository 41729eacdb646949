"""How exactly networks compute: dtypes, the compiler, and float32 that does not depend on the caller's settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from semtok.errors import CheckpointError


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Runs float32 networks in float32, whatever autocast and precision the caller has set; both are restored after.

    Autocast belongs to a thread, so this stands where a network runs, in the worker threads of batches too.
    """
    available = torch.amp.is_autocast_available(device.type)
    with torch.autocast(device.type, enabled=False) if available else nullcontext(), _FULL_PRECISION:
        yield


class _FullPrecision:
    """torch's flags for float32 products, which are global: the first thread in sets them, the last one out restores.

    Two interfaces of torch hold the same setting, and reading the older one fails once the newer one contradicts it.
    The older setters bring both to full precision; what either said is restored by its own.
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
    """What sets each setting back to its value of now, the older interface first."""
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
    """The floating-point type asked for, by name or as torch has it; float32 by default.

    Raises:
        CheckpointError: it is none.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise CheckpointError(f"dtype must be 'float32', 'bfloat16' or 'float16', got {dtype!r}")
    return found


def check_compiler(device: str | torch.device) -> None:
    """Makes sure that `torch.compile` works on a device, with the least that can be compiled.

    Raises:
        CheckpointError: it does not.
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
