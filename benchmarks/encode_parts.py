"""What `encode.py` says beside its times: multiplications counted, the machine's own rate, the share of each part."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from report import median_seconds
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from semtok import Tokenizer


def count_flops(run: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products, convolutions and attention in a run, from their shapes."""

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    # The operator on a CPU that torch leaves out.
    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        run()
    return float(counter.get_total_flops())


def matmul_rate(dtype: torch.dtype, *, size: int) -> float:
    """Operations a second of a large square matrix product."""
    left, right = torch.randn(2, size, size).to(dtype)
    with torch.inference_mode():
        seconds = median_seconds({"product": lambda: left @ right}, 5)
    return 2 * size**3 / seconds["product"]


class Clock:
    """Adds up the time spent in functions, by name."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds[name] += time.perf_counter() - start  # type: ignore[assignment]
            return result

        return timed


def print_profile(tokenizer: Tokenizer, run: Callable[[], object]) -> None:
    """The share of each part of an encoder in the time of a run, on a CPU. The tokenizer is not to be used after it."""
    clock, encoder = Clock(), tokenizer.encoder
    model: Any = encoder.model
    model.feature_extractor.forward = clock.around("convolutions", model.feature_extractor.forward)
    positions = model.encoder.pos_conv_embed
    positions.forward = clock.around("positions", positions.forward)
    encoder._run_layer = clock.around("layers", encoder._run_layer)
    for layer in model.encoder.layers:
        layer.feed_forward.forward = clock.around("feed forward", layer.feed_forward.forward)
    for layer in tokenizer.layers:
        quantizer = tokenizer.network.quantizer(layer)
        quantizer.forward = clock.around("nearest centroids", quantizer.forward)  # type: ignore[method-assign]
    run()
    clock.seconds.clear()
    clock.around("all", run)()

    seconds = clock.seconds
    total = seconds.pop("all")
    seconds["attention and norms"] = seconds.pop("layers") - seconds["feed forward"]  # type: ignore[assignment]
    seconds["the rest"] = total - sum(seconds.values())  # type: ignore[assignment]
    print("\n| part | share of the time |\n|---|---:|")
    for name, spent in seconds.most_common():
        print(f"| {name} | {100 * spent / total:.1f} % |")
