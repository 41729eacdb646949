"""How fast tokens become speech: HiFi-GAN V1 as published, an inverse-STFT generator of like size, and tiny.

python benchmarks/decode.py            # speed on the CPU, and on a GPU if there is one
python benchmarks/decode.py --long     # time and peak memory of 1 minute to 3 hours

The peer is SpeechBrain's own vocoder with the same weights, where SpeechBrain is installed; else the HiFi-GAN of
transformers, fed with ready vectors: a vocoder without embedding tables and without attention over layers.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from long_decode import print_long
from report import median_seconds, parse_options, print_machine, print_table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from semtok import Tokens, Vocoder
from semtok.codebooks.codebooks import Codebooks
from semtok.networks.config import VocoderConfig
from semtok.networks.generators import GeneratorConfig, HiFiGANConfig, ISTFTConfig
from semtok.networks.scalable_vocoder import ScalableVocoder

SIX_LAYERS = (1, 3, 7, 12, 18, 23)
DIM = 1024
CODEBOOK_SIZE = 1000
TRANSFORMERS = "transformers, HiFi-GAN V1"
SPEECHBRAIN = "SpeechBrain 1.1.2"
BATCHES = (1, 16, 64)


def main() -> None:
    options = parse_options(
        __doc__, long="time and peak memory of long tokens instead", compile="also rows with torch.compile"
    )
    torch.manual_seed(0)
    channels = 32 if options.quick else 512
    if options.long:
        print_machine(options)
        # Three hours of HiFi-GAN take half an hour.
        vocoders = {"tiny": Vocoder.from_pretrained("tiny"), "HiFi-GAN V1": hifigan_vocoder(channels)}
        print_long(vocoders, {"HiFi-GAN V1": 10}, options)
        return
    print_machine(options)
    frames = round(options.seconds * 50)
    runs: dict[str, Callable[[], Any]] = {}
    parameters: dict[str, int] = {}
    if importlib.util.find_spec("speechbrain"):
        peer, (runs[peer], parameters[peer], hifigan) = SPEECHBRAIN, speechbrain_peer(channels, frames)
    else:
        peer, (runs[peer], parameters[peer]) = TRANSFORMERS, transformers_peer(channels, frames)
        hifigan = hifigan_vocoder(channels)
    vocoders = {
        "HiFi-GAN V1": hifigan,
        "iSTFT of like size": istft_vocoder(options.quick),
        "tiny": Vocoder.from_pretrained("tiny"),
    }
    for name, vocoder in vocoders.items():
        for run, made, layers in variants(name, vocoder, options.compile):
            runs[run] = functools.partial(made.decode, random_tokens(made, 1, frames), layers=layers)
            parameters[run] = count_parameters(made.network)
    with torch.inference_mode():
        seconds = median_seconds(runs, options.repeats)
    print_table("vocoder", seconds, options.seconds, peer)
    print_rates(runs, parameters, seconds, options.seconds)
    if torch.cuda.is_available():
        print_gpu(vocoders, options)


def variants(name: str, vocoder: Vocoder, compiled: bool) -> list[tuple[str, Vocoder, tuple[int, ...]]]:
    """Name, vocoder and layers of the runs of one vocoder."""
    rows = [
        (f"{name}, layers {', '.join(map(str, layers))}", vocoder, layers) for layers in ((1, 3, 7), vocoder.layers)
    ]
    rows.append((f"{name}, bfloat16", in_bfloat16(vocoder), vocoder.layers))
    if compiled:
        for run, made in ((f"{name}, compiled", vocoder), (f"{name}, bfloat16, compiled", in_bfloat16(vocoder))):
            made = Vocoder(made.config, copy.deepcopy(made.network))
            made.network.generator.compile(dynamic=True)
            rows.append((run, made, vocoder.layers))
    return rows


def in_bfloat16(vocoder: Vocoder) -> Vocoder:
    return Vocoder(vocoder.config, copy.deepcopy(vocoder.network).bfloat16())


def print_rates(
    runs: dict[str, Callable[[], Any]], parameters: dict[str, int], seconds: dict[str, float], audio_seconds: float
) -> None:
    """Parameters and arithmetic of each run, beside what the machine does in plain matrix products."""
    peaks = {dtype: product_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
    print(f"\nMatrix products of 1024 x 1024: {peaks[torch.float32]:.0f} GFLOP/s in float32, ", end="")
    print(f"{peaks[torch.bfloat16]:.0f} in bfloat16.")
    print("\n| vocoder | parameters, million | GFLOP a second of speech | GFLOP/s | % of matrix products |")
    print("|---|---:|---:|---:|---:|")
    for name, run in runs.items():
        if "compiled" in name:
            continue
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run()
        operations = counter.get_total_flops() / 1e9
        rate = operations / seconds[name]
        share = 100 * rate / peaks[torch.bfloat16 if "bfloat16" in name else torch.float32]
        print(
            f"| {name} | {parameters[name] / 1e6:.1f} | {operations / audio_seconds:.2f} | {rate:.3g} | {share:.3g} |"
        )


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def product_rate(dtype: torch.dtype, size: int = 1024) -> float:
    """GFLOP/s, the best of ten products."""
    left, right = torch.randn(2, size, size).to(dtype)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2e-9 * size**3 / min(times)


def print_gpu(vocoders: dict[str, Vocoder], options: Any) -> None:
    print(
        f"\n| {torch.cuda.get_device_name()}: x real time | " + " | ".join(f"batch {batch}" for batch in BATCHES) + " |"
    )
    print("|---|" + "---:|" * len(BATCHES))
    for name, vocoder in vocoders.items():
        for made, dtype in ((vocoder, "float32"), (in_bfloat16(vocoder), "bfloat16")):
            on_gpu = Vocoder(made.config, copy.deepcopy(made.network).cuda())
            speeds = []
            for batch in BATCHES:
                tokens = random_tokens(on_gpu, batch, round(options.seconds * 50)).to("cuda")

                def run(on_gpu: Vocoder = on_gpu, tokens: Tokens = tokens) -> None:
                    on_gpu.decode(tokens)
                    torch.cuda.synchronize()

                speeds.append(batch * options.seconds / median_seconds({"": run}, options.repeats)[""])
            print(f"| {name}, {dtype} | " + " | ".join(f"{speed:.0f}" for speed in speeds) + " |")


def random_tokens(vocoder: Vocoder, batch: int, frames: int) -> Tokens:
    codebooks = vocoder.codebooks
    codes = torch.stack([torch.randint(size, (batch, frames)) for size in codebooks.sizes], dim=1)
    return Tokens.of(list(codes), codebooks, vocoder.frame_rate, vocoder.fingerprint)


def random_vocoder(generator: GeneratorConfig, dim: int = DIM) -> Vocoder:
    """Random weights for the six layers of speechbrain/hifigan-wavlm-k1000-LibriTTS."""
    config = VocoderConfig(
        codebooks=Codebooks({layer: [CODEBOOK_SIZE] for layer in SIX_LAYERS}),
        embedding_dim=dim,
        attention_dim=128,
        sample_rate=16000,
        hop_length=320,
        fingerprint="random",
        generator=generator,
    )
    return Vocoder(config, ScalableVocoder(config))


def hifigan_vocoder(channels: int) -> Vocoder:
    """In the sizes of the published vocoders."""
    generator = HiFiGANConfig(
        channels=channels,
        upsample_factors=(5, 4, 4, 2, 2),
        upsample_kernel_sizes=(11, 8, 8, 4, 4),
        resblock_kernel_sizes=(3, 7, 11),
        resblock_dilations=(1, 3, 5),
    )
    return random_vocoder(GeneratorConfig(hifigan=generator))


def istft_vocoder(quick: bool) -> Vocoder:
    """An inverse-STFT generator with as many parameters as that HiFi-GAN, less 5 %."""
    width, hidden, blocks = (16, 32, 1) if quick else (512, 1536, 7)
    generator = ISTFTConfig(320, width=width, hidden=hidden, blocks=blocks, n_fft=640, stft_hop_length=160)
    return random_vocoder(GeneratorConfig(istft=generator))


def speechbrain_peer(channels: int, frames: int) -> tuple[Callable[[], Any], int, Vocoder]:
    """A run of SpeechBrain's vocoder, its parameters, and semtok's vocoder with the same weights."""
    from speechbrain_peer import load_vocoders

    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = load_vocoders(Path(folder), SIX_LAYERS, CODEBOOK_SIZE, channels)
    parameters = count_parameters(theirs.hparams.generator)  # the first run merges those of weight normalisation
    tokens = random_tokens(ours, 1, frames)
    units = tokens.codes.mT + 1 + CODEBOOK_SIZE * torch.arange(len(SIX_LAYERS))
    difference = float((theirs.decode_batch(units)[:, 0] - ours.decode(tokens)).abs().max())
    print(f"Waveforms of SpeechBrain and of semtok's HiFi-GAN V1 differ by {difference:.1e} at most.")
    return lambda: theirs.decode_batch(units), parameters, ours


def transformers_peer(channels: int, frames: int) -> tuple[Callable[[], Any], int]:
    """A run of the HiFi-GAN of transformers, and its parameters."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(
        model_in_dim=DIM,
        upsample_initial_channel=channels,
        upsample_rates=[5, 4, 4, 2, 2],
        upsample_kernel_sizes=[11, 8, 8, 4, 4],
        resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
    )
    network = SpeechT5HifiGan(config).eval()
    vectors = torch.randn(1, frames, DIM)
    return lambda: network(vectors), count_parameters(network)


if __name__ == "__main__":
    main()
