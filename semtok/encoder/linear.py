"""Linear layers, on a CPU by the faster of the two libraries for matrix products that torch brings along."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# In float32 torch takes MKL, whose products are a fifth slower than oneDNN's on AMD's processors. This operator, by
# which torch's own compiler calls oneDNN, takes weights as they are. Where torch has none, all goes the usual way.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As of `torch.nn.functional`: rows [..., dim in], weight [dim out, dim in] -> [..., dim out], up to rounding."""
    # The compiler has rules of its own for the operator.
    if torch.compiler.is_compiling() or _ONEDNN is None or not _suits_onednn(rows):
        return nn.functional.linear(rows, weight, bias)
    found: Tensor = _ONEDNN(rows, weight, bias, "none", [], "")
    return found


class Linear(nn.Linear):
    """torch's, by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def use_fast_linear(model: nn.Module) -> None:
    """Makes every linear layer of a model one of these; parameters and their names stay."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


def _suits_onednn(rows: Tensor) -> bool:
    return (
        rows.device.type == "cpu"
        and rows.dtype in (torch.float32, torch.bfloat16)
        and torch.is_inference_mode_enabled()  # the operator has no gradient
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )
