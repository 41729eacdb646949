"""Unit HiFi-GANs of fairseq and textlesslib, a generator and its `config.json` (Polyak et al., 2021), as vocoders."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semtok.checkpoints.config import TokenizerConfig, read_config
from semtok.checkpoints.parts import VocoderParts
from semtok.checkpoints.speechbrain.unit_hifigan import convert_weights
from semtok.checkpoints.untrusted import read_state_dict
from semtok.errors import CheckpointError
from semtok.networks.config import VocoderConfig
from semtok.networks.generators import GeneratorConfig, HiFiGANConfig
from semtok.support.json import read_json

_SIZES = {
    "channels": "upsample_initial_channel",
    "upsample_factors": "upsample_rates",
    "upsample_kernel_sizes": "upsample_kernel_sizes",
    "resblock_kernel_sizes": "resblock_kernel_sizes",
}
# What their generators may be given beside units; a vocoder of tokens alone has none of it.
_CONDITIONS = ("multispkr", "embedder_params", "f0")
_CONVOLUTION = re.compile(r"(conv_pre|conv_post|ups\.\d+|resblocks\.\d+\.convs[12]\.\d+)\.(weight(?:_g|_v)?|bias)")


def read_unit_vocoder(
    generator: str | os.PathLike[str], config: str | os.PathLike[str], tokenizer: TokenizerConfig
) -> VocoderParts:
    """The parts of a vocoder for the tokens of a tokenizer.

    Args:
        generator: a file of `torch.save` with the weights under "generator", such as `g_00500000`.
        config: its `config.json`.
        tokenizer: of one row of codes, as many as the vocoder has units.

    Raises:
        CheckpointError: files that are missing, damaged, hostile or of another network; a generator that wants a
            speaker or pitch; a tokenizer of other codes, rate or hop.
        ConfigError: sizes that are missing or ill-typed.
    """
    where = os.fspath(config)
    settings = read_json(Path(config), CheckpointError)
    if not isinstance(settings, dict):
        raise CheckpointError(f"{where} is no config of a generator: it holds a {type(settings).__name__}")
    sizes = _read_sizes(settings, where)
    _check_tokenizer(settings, sizes, tokenizer, where)
    (units,) = tokenizer.codebooks.sizes
    state = {_rename(name): tensor for name, tensor in read_state_dict(generator, within="generator").items()}
    if (table := state.get("unit_embedding.weight")) is not None and table.ndim == 2:
        # Theirs has no row for an absent layer.
        state["unit_embedding.weight"] = torch.cat([table.new_zeros(1, table.shape[1]), table])
    blocks = len(sizes.resblock_kernel_sizes)
    weights: dict[str, Tensor] = convert_weights(state, 1, units, blocks, os.fspath(generator))
    attention_dim, embedding_dim = weights["selector.score.0.weight"].shape
    vocoder = VocoderConfig(
        codebooks=tokenizer.codebooks,
        embedding_dim=embedding_dim,
        attention_dim=attention_dim,
        sample_rate=tokenizer.sample_rate,
        hop_length=sizes.hop_length,
        fingerprint=tokenizer.fingerprint,
        generator=GeneratorConfig(hifigan=sizes),
    )
    return VocoderParts(vocoder, weights)


def _read_sizes(settings: Mapping[str, Any], where: str) -> HiFiGANConfig:
    if given := [name for name in _CONDITIONS if settings.get(name)]:
        raise CheckpointError(
            f"{where} is of a generator that is given more than units ({', '.join(given)}): vocoders conditioned on "
            "speakers or pitch are not supported"
        )
    if str(settings.get("resblock", "1")) != "1":
        raise CheckpointError(f"{where}: resblock is {settings['resblock']!r}, expected '1'")
    dilations = settings.get("resblock_dilation_sizes")
    if not isinstance(dilations, list) or not dilations or any(entry != dilations[0] for entry in dilations):
        raise CheckpointError(f"{where}: resblock_dilation_sizes must be equal lists, got {dilations!r}")
    if missing := sorted(theirs for theirs in _SIZES.values() if theirs not in settings):
        raise CheckpointError(f"{where} lacks the entries {missing}")
    sizes = {name: settings[theirs] for name, theirs in _SIZES.items()}
    return read_config({**sizes, "resblock_dilations": dilations[0], "padding": "zeros"}, HiFiGANConfig, where)


def _check_tokenizer(settings: Mapping[str, Any], sizes: HiFiGANConfig, tokenizer: TokenizerConfig, where: str) -> None:
    theirs = (settings.get("num_embeddings"), settings.get("sampling_rate", tokenizer.sample_rate), sizes.hop_length)
    codes = tokenizer.codebooks.sizes
    ours = (codes[0] if len(codes) == 1 else list(codes), tokenizer.sample_rate, tokenizer.hop_length)
    if theirs != ours:
        raise CheckpointError(
            f"(units, Hz, samples a frame) of {where} are {theirs}, those of the tokenizer {ours}: give the tokenizer "
            "of one row that its units were made with"
        )


def _rename(name: str) -> str:
    """A name of theirs in SpeechBrain's terms, whose generator wraps its convolutions."""
    if match := _CONVOLUTION.fullmatch(name):
        return f"{match[1]}.conv.{match[2]}"
    if name == "dict.weight":
        return "unit_embedding.weight"
    return re.sub("^dur_predictor", "var_predictor", name)
