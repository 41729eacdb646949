"""How fast speech becomes tokens: `tiny`, and a random encoder of WavLM-large's shape.

The peer is the plain way to the same features: transformers' forward of all layers with output_hidden_states. It does
less, as it leaves out the search for the nearest centroids.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from report import median_seconds, parse_options, print_machine, print_table
from torch import Tensor
from transformers import WavLMConfig, WavLMModel

from semtok import Tokenizer

SIX_LAYERS = (1, 3, 7, 12, 18, 23)
PEER = "transformers, all layers"


def main() -> None:
    options = parse_options(__doc__)
    print_machine(options)
    wavlm = random_tokenizer(small_config() if options.quick else wavlm_large_config())
    for name, tokenizer in {"tiny": Tokenizer.from_pretrained("tiny"), "WavLM-large, random weights": wavlm}.items():
        waveform = 0.1 * torch.randn(round(options.seconds * tokenizer.sample_rate))
        with torch.inference_mode():
            seconds = median_seconds(runs(tokenizer, waveform), options.repeats)
        print_table(name, seconds, options.seconds, PEER)


def runs(tokenizer: Tokenizer, waveform: Tensor) -> dict[str, Callable[[], object]]:
    plain = functools.partial(tokenizer.encoder.model, waveform[None], output_hidden_states=True)
    ours = {
        f"layers {', '.join(map(str, layers))}": functools.partial(tokenizer.encode, waveform, layers=layers)
        for layers in ((1, 3, 7), tokenizer.layers)
    }
    return {PEER: plain, **ours}


def random_tokenizer(config: WavLMConfig) -> Tokenizer:
    centroids = {layer: torch.randn(1000, config.hidden_size) for layer in SIX_LAYERS}
    return Tokenizer.from_centroids(WavLMModel(config), centroids, normalize=True)


def wavlm_large_config() -> WavLMConfig:
    """That of microsoft/wavlm-large."""
    return WavLMConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        conv_bias=False,
        do_stable_layer_norm=True,
    )


def small_config() -> WavLMConfig:
    config = wavlm_large_config()
    config.update({"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "conv_dim": [16] * 7})
    return config


if __name__ == "__main__":
    main()
