"""Points of which each process holds a share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from accelerate import Accelerator


class SharedPoints:
    """The points [points, dim] of all processes, numbered in the order of the processes; each holds its own.

    What is drawn depends on the numbers alone, not on how the points are shared out. The one collective operation is a
    sum, so that a share may be empty and shares may differ in size.
    """

    def __init__(self, own: Tensor, accelerator: Accelerator | None) -> None:
        if own.ndim != 2 or not own.is_floating_point():
            raise ValueError(f"points must be floats of shape [points, dim], got {own.dtype} of {list(own.shape)}")
        self.own = own
        self._accelerator = accelerator if accelerator is not None and accelerator.num_processes > 1 else None
        process = self._accelerator.process_index if self._accelerator else 0
        counts = torch.zeros(self._accelerator.num_processes if self._accelerator else 1, dtype=torch.int64)
        counts[process] = len(own)
        counts = self.sum(counts.to(own.device)).cpu()
        self.total = int(counts.sum())
        self._first = int(counts[:process].sum())

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of the processes' tensors of one shape, for all of them."""
        if self._accelerator is None:
            return tensor
        summed: Tensor = self._accelerator.reduce(tensor, "sum")
        return summed

    def of_first(self, tensor: Tensor) -> Tensor:
        """The first process's tensor, for all of them."""
        main = self._accelerator is None or self._accelerator.is_main_process
        return self.sum(tensor if main else torch.zeros_like(tensor))

    def permutation(self, generator: torch.Generator) -> Tensor:
        """All numbers in random order, the same in every process."""
        return torch.randperm(self.total, generator=generator)

    def own_of(self, numbers: Tensor) -> Tensor:
        """Those of the numbered points that this process holds, in their order."""
        return self.own[(numbers[self._held(numbers)] - self._first).to(self.own.device)]

    def gather(self, numbers: Tensor) -> Tensor:
        """The numbered points, float32 [numbers, dim], for all processes."""
        gathered = self.own.new_zeros(len(numbers), self.own.shape[1], dtype=torch.float32)
        gathered[self._held(numbers).to(self.own.device)] = self.own_of(numbers).float()
        return self.sum(gathered)

    def draw(self, numbers: Tensor, weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draws `count` of the numbered points by weight, without replacement: float32 [count, dim], for all processes.

        `weights` are those of the points that `own_of` gives. The largest of weight / exponential noise are such a
        sample (Efraimidis and Spirakis, 2006).
        """
        keys = weights.new_zeros(len(numbers))
        keys[self._held(numbers).to(keys.device)] = weights
        noise = torch.empty(len(numbers)).exponential_(generator=generator).to(keys.device)
        return self.gather(numbers[(self.sum(keys) / noise).topk(count).indices.cpu()])

    def _held(self, numbers: Tensor) -> Tensor:
        return (numbers >= self._first) & (numbers < self._first + len(self.own))
