"""How fast speech becomes tokens: `tiny`, and a random encoder of WavLM-large's shape, against the plain way.

The peers run all layers and leave out the search for the nearest centroids: transformers' forward with
output_hidden_states, and, for WavLM-large where it is installed, the encoder of SpeechBrain 1.1.2 on the same weights.
On a GPU, if there is one, also batches, and half precision.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from encode_parts import count_flops, matmul_rate, print_profile
from report import median_seconds, parse_options, print_machine, print_table
from torch import Tensor
from transformers_peer import of_transformers

from semtok import Tokenizer
from semtok.encoder.encoder import Encoder

if TYPE_CHECKING:
    from transformers import WavLMConfig

SIX_LAYERS = (1, 3, 7, 12, 18, 23)
THREE_LAYERS = (1, 3, 7)
HALF = "layers 1, 3, 7, bfloat16"
PEER = "transformers, all layers"
SPEECHBRAIN = "SpeechBrain 1.1.2, all layers"
BATCHES = (1, 16, 64)
Runs = dict[str, Callable[[], object]]


def main() -> None:
    options = parse_options(
        __doc__,
        compile="also rows with torch.compile",
        profile="also the share of each part of an encoder in the time",
    )
    print_machine(options)
    # Before any model of transformers: see there.
    speechbrain = importlib.import_module("speechbrain_peer") if importlib.util.find_spec("speechbrain") else None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wavlm = random_tokenizer(small_config() if options.quick else wavlm_large_config())
    for name, tokenizer in {"tiny": Tokenizer.from_pretrained("tiny"), "WavLM-large, random weights": wavlm}.items():
        peers = speechbrain_encoder(speechbrain, wavlm) if speechbrain and tokenizer is wavlm else {}
        print_comparison(name, tokenizer, peers, options)
        if device.type == "cuda":
            print_batches(name, tokenizer, device, options)
        if options.profile:
            waveform = random_speech(tokenizer, options.seconds)
            print_profile(tokenizer, functools.partial(tokenizer.encode, waveform, layers=THREE_LAYERS))


def print_comparison(name: str, tokenizer: Tokenizer, peers: Runs, options: argparse.Namespace) -> None:
    """The table of one clip on the CPU, and what two of its rows make of the processor."""
    waveform = random_speech(tokenizer, options.seconds)
    runs = peers_of(tokenizer, waveform, peers) | own_runs(tokenizer, waveform, compiled=options.compile)
    # No more, so that transformers runs its linear layers as it does without semtok.
    with torch.no_grad():
        seconds = median_seconds(runs, options.repeats)
        print_table(name, seconds, options.seconds, SPEECHBRAIN if SPEECHBRAIN in runs else PEER)
        print()
        flops = count_flops(functools.partial(tokenizer.encode, waveform, layers=THREE_LAYERS))
        for row, dtype in ((layers_name(THREE_LAYERS), torch.float32), (HALF, torch.bfloat16)):
            rate, limit = flops / seconds[row], matmul_rate(dtype, size=256 if options.quick else 2048)
            print(
                f"{row}: {flops / 1e9:.3g} GFLOP of matrix products, {rate / 1e9:.3g} GFLOP/s, where a {dtype} matrix "
                f"product of this machine reaches {limit / 1e9:.3g}: {100 * rate / limit:.0f} %."
            )


def peers_of(tokenizer: Tokenizer, waveform: Tensor, peers: Runs) -> Runs:
    model = of_transformers(tokenizer.encoder.model)
    plain = functools.partial(model, waveform[None], output_hidden_states=True)
    return {PEER: plain, **{name: functools.partial(run, waveform[None]) for name, run in peers.items()}}


def own_runs(tokenizer: Tokenizer, waveform: Tensor, *, compiled: bool) -> Runs:
    """Layers 1, 3, 7 and all that have a codebook in float32; the former in bfloat16, and compiled if asked."""
    half = copy_of(tokenizer, torch.bfloat16)
    runs: Runs = {
        layers_name(THREE_LAYERS): functools.partial(tokenizer.encode, waveform, layers=THREE_LAYERS),
        layers_name(tokenizer.layers): functools.partial(tokenizer.encode, waveform),
        HALF: functools.partial(half.encode, waveform, layers=THREE_LAYERS),
    }
    if compiled:
        for row, original in ((layers_name(THREE_LAYERS), tokenizer), (HALF, half)):
            program = copy_of(original, original.dtype)
            program.encoder.compile_layers()
            runs[f"{row}, compiled"] = functools.partial(program.encode, waveform, layers=THREE_LAYERS)
    return runs


def print_batches(name: str, tokenizer: Tokenizer, device: torch.device, options: argparse.Namespace) -> None:
    """The table of a GPU: x real time for each batch size, in each dtype, compiled or not."""
    print(f"\n| {name}, layers 1, 3, 7, {torch.cuda.get_device_name()} | {' | '.join(f'batch {b}' for b in BATCHES)} |")
    print("|---|" + "---:|" * len(BATCHES))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for compiled in (False, True) if options.compile else (False,):
            there = copy_of(tokenizer, dtype, device)
            if compiled:
                there.encoder.compile_layers()
            speeds = []
            for batch in BATCHES:
                waveforms = torch.stack([random_speech(tokenizer, options.seconds) for _ in range(batch)]).to(device)
                run = functools.partial(run_on_gpu, there, waveforms)
                speeds.append(batch * options.seconds / median_seconds({"run": run}, options.repeats)["run"])
            row = f"{str(dtype).removeprefix('torch.')}{', compiled' if compiled else ''}"
            print(f"| {row} | {' | '.join(f'{speed:.0f}' for speed in speeds)} |")


def run_on_gpu(tokenizer: Tokenizer, waveforms: Tensor) -> None:
    lengths = [waveforms.shape[1]] * len(waveforms)
    tokenizer.encode(waveforms, lengths=lengths, layers=THREE_LAYERS)
    torch.cuda.synchronize()


def layers_name(layers: tuple[int, ...]) -> str:
    return f"layers {', '.join(map(str, layers))}"


def random_speech(tokenizer: Tokenizer, seconds: float) -> Tensor:
    return 0.1 * torch.randn(round(seconds * tokenizer.sample_rate))


def copy_of(tokenizer: Tokenizer, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tokenizer:
    """The same tokenizer in another dtype or elsewhere; its weights are shared if neither changes."""
    model, config = tokenizer.encoder.model, tokenizer.config
    if (dtype, torch.device(device)) != (tokenizer.dtype, tokenizer.device):
        model = copy.deepcopy(model).to(device, dtype)
    encoder = Encoder(model, normalize=config.normalize, normalize_epsilon=config.normalize_epsilon)
    stages = tokenizer.network.centroids()
    return Tokenizer(config, encoder, stages)


def speechbrain_encoder(peer: Any, tokenizer: Tokenizer) -> Runs:
    """SpeechBrain's encoder with the weights of a tokenizer, by the module `speechbrain_peer`."""
    model = of_transformers(tokenizer.encoder.model)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "encoder"
        peer.layout_files.write_encoder(source, model.config.to_dict(), model.state_dict(), normalize=True)
        wavlm = importlib.import_module("speechbrain.integrations.huggingface.wavlm").WavLM
        return {SPEECHBRAIN: wavlm(str(source), str(Path(folder) / "saved"), output_all_hiddens=True, freeze=True)}


def random_tokenizer(config: WavLMConfig) -> Tokenizer:
    from transformers import WavLMModel

    centroids = {layer: torch.randn(1000, config.hidden_size) for layer in SIX_LAYERS}
    return Tokenizer.from_centroids(WavLMModel(config), centroids, normalize=True)


def wavlm_large_config() -> WavLMConfig:
    """That of microsoft/wavlm-large."""
    from transformers import WavLMConfig

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
