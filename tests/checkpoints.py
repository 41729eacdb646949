"""Tiny random checkpoints: a HuBERT of 5 narrow layers, codebooks of three sizes, vocoders of both kinds."""

from __future__ import annotations

from pathlib import Path

import torch
from encoders import tiny_model
from helpers import CLIPS

from semtok import Tokenizer, Tokens, Vocoder, load_audio
from semtok.networks.config import VocoderConfig
from semtok.networks.generators import GeneratorConfig, HiFiGANConfig, ISTFTConfig
from semtok.networks.scalable_vocoder import ScalableVocoder

CODEBOOK_SIZES = {1: 40, 3: 30, 4: 12}
ENCODER_LAYERS = 5
GENERATORS = {
    "istft": GeneratorConfig(istft=ISTFTConfig(320, width=16, hidden=32, blocks=2, n_fft=320, stft_hop_length=160)),
    "hifigan": GeneratorConfig(
        hifigan=HiFiGANConfig(
            channels=64,
            upsample_factors=(5, 4, 4, 2, 2),
            upsample_kernel_sizes=(11, 8, 8, 4, 4),
            resblock_kernel_sizes=(3, 7),
            resblock_dilations=(1, 3),
        )
    ),
}


def make_tokenizer(*, seed: int = 0, encoder: str = "hubert-base") -> Tokenizer:
    """Each centroid lies half-way between two frames of speech, so that tokens say something about the input."""
    model = tiny_model(encoder, seed=seed, num_hidden_layers=ENCODER_LAYERS)
    generator = torch.Generator().manual_seed(seed)
    blank = {layer: torch.randn(2, 32, generator=generator) for layer in CODEBOOK_SIZES}
    frames = Tokenizer.from_centroids(model, blank, normalize=True).features(load_audio(CLIPS[0]))[0]
    centroids = {}
    for layer, features in zip(CODEBOOK_SIZES, frames, strict=True):
        pairs = torch.randint(len(features), (2, CODEBOOK_SIZES[layer]), generator=generator)
        centroids[layer] = features[pairs].mean(dim=0)
    return Tokenizer.from_centroids(model, centroids, normalize=True)


def make_vocoder(tokenizer: Tokenizer, generator: str, *, seed: int = 0) -> Vocoder:
    config = VocoderConfig(
        codebooks=tokenizer.codebooks,
        embedding_dim=8,
        attention_dim=8,
        sample_rate=tokenizer.sample_rate,
        hop_length=tokenizer.hop_length,
        fingerprint=tokenizer.fingerprint,
        generator=GENERATORS[generator],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Vocoder(config, ScalableVocoder(config))


def save_checkpoint(folder: Path, generator: str, *, seed: int = 0) -> Path:
    tokenizer = make_tokenizer(seed=seed)
    tokenizer.save_pretrained(folder)
    make_vocoder(tokenizer, generator, seed=seed).save_pretrained(folder)
    return folder


def draw_tokens(vocoder: Vocoder, lengths: list[int], *, seed: int = 0) -> Tokens:
    """Random tokens of utterances of these frames, of all layers of a vocoder."""
    generator = torch.Generator().manual_seed(seed)
    sizes = vocoder.codebooks.sizes
    codes = torch.stack(
        [torch.randint(size, (len(lengths), max(lengths)), generator=generator) for size in sizes], dim=1
    )
    for row, length in zip(codes, lengths, strict=True):
        row[:, length:] = -1
    return Tokens(codes, torch.tensor(lengths), vocoder.layers, vocoder.frame_rate, sizes, vocoder.fingerprint)
