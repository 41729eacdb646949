"""How fast tokens become speech: `tiny` with its inverse-STFT generator, and HiFi-GAN V1 as in the published vocoders.

The peer is the HiFi-GAN of transformers with the sizes of the published vocoders, fed with ready vectors: a vocoder
without embedding tables and without attention over layers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from report import median_seconds, parse_options, print_machine, print_table
from torch import Tensor
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from semtok import Tokens, Vocoder
from semtok.config import GeneratorConfig, HiFiGANConfig, VocoderConfig
from semtok.vocoder import build_network

SIX_LAYERS = (1, 3, 7, 12, 18, 23)
DIM = 1024
PEER = "transformers, HiFi-GAN V1"


def main() -> None:
    options = parse_options(__doc__)
    print_machine(options)
    channels = 32 if options.quick else 512
    vocoders = {"tiny": Vocoder.from_pretrained("tiny"), "HiFi-GAN V1": hifigan_vocoder(channels)}
    peer = transformers_hifigan(channels)
    frames = round(options.seconds * 50)
    vectors = torch.randn(1, frames, DIM)
    runs: dict[str, Callable[[], Tensor]] = {PEER: lambda: peer(vectors)}
    for name, vocoder in vocoders.items():
        tokens = random_tokens(vocoder, frames)
        for layers in ((1, 3, 7), vocoder.layers):
            run = f"{name}, layers {', '.join(map(str, layers))}"
            runs[run] = functools.partial(vocoder.decode, tokens, layers=layers)
    with torch.inference_mode():
        seconds = median_seconds(runs, options.repeats)
    print_table("vocoder", seconds, options.seconds, PEER)


def random_tokens(vocoder: Vocoder, frames: int) -> Tokens:
    return Tokens(
        codes=torch.stack([torch.randint(size, (1, frames)) for size in vocoder.config.codebook_sizes], dim=1),
        lengths=torch.tensor([frames]),
        layers=vocoder.layers,
        frame_rate=vocoder.sample_rate / vocoder.hop_length,
        codebook_sizes=vocoder.config.codebook_sizes,
        fingerprint=vocoder.fingerprint,
    )


def hifigan_vocoder(channels: int) -> Vocoder:
    """Random weights in the sizes of speechbrain/hifigan-wavlm-k1000-LibriTTS."""
    generator = HiFiGANConfig(
        channels=channels,
        upsample_factors=(5, 4, 4, 2, 2),
        upsample_kernel_sizes=(11, 8, 8, 4, 4),
        resblock_kernel_sizes=(3, 7, 11),
        resblock_dilations=(1, 3, 5),
    )
    config = VocoderConfig(
        layers=SIX_LAYERS,
        codebook_sizes=(1000,) * len(SIX_LAYERS),
        embedding_dim=DIM,
        attention_dim=128,
        sample_rate=16000,
        hop_length=320,
        fingerprint="random",
        generator=GeneratorConfig(hifigan=generator),
    )
    return Vocoder(config, build_network(config))


def transformers_hifigan(channels: int) -> SpeechT5HifiGan:
    config = SpeechT5HifiGanConfig(
        model_in_dim=DIM,
        upsample_initial_channel=channels,
        upsample_rates=[5, 4, 4, 2, 2],
        upsample_kernel_sizes=[11, 8, 8, 4, 4],
        resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
    )
    return SpeechT5HifiGan(config).eval()


if __name__ == "__main__":
    main()
