"""SpeechBrain's `UnitHifiganGenerator`: its settings and weights -> those of `semtok.networks.scalable_vocoder`.

Its one embedding table holds, in row 0, what stands for an absent layer, then the layers one after another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from semtok.checkpoints.config import read_config
from semtok.errors import CheckpointError
from semtok.networks.generators import HiFiGANConfig

# The generator that semtok has. SpeechBrain's default is the same where an entry is not given.
_FIXED = {
    "cond_channels": 0,
    "multi_speaker": False,
    "out_channels": 1,
    "resblock_type": "1",
    "skip_token_embedding": False,
}
_REFERENCE = re.compile(r"<(\w+)>")
# torch's two namings of weight normalisation: of the magnitudes, and of the directions that belong to them.
_WEIGHT_NORMS = {"weight_g": "weight_v", "parametrizations.weight.original0": "parametrizations.weight.original1"}


def read_settings(entries: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The generator's arguments from what a hyperparams.yaml holds: entries on top, and over them those of `generator`.

    Raises:
        CheckpointError: a reference to an entry that is not in the file, whose name is `where`.
    """

    def follow(value: Any) -> Any:
        for _ in entries:  # a longer chain than this goes in circles
            if not isinstance(value, str) or not (reference := _REFERENCE.fullmatch(value)):
                return value
            if reference[1] not in entries:
                break
            value = entries[reference[1]]
        raise CheckpointError(f"{where}: the reference {value!r} leads nowhere")

    generator = entries.get("generator")
    settings = {**entries, **generator} if isinstance(generator, dict) else dict(entries)
    return {name: follow(value) for name, value in settings.items()}


def generator_config(settings: Mapping[str, Any], where: str) -> HiFiGANConfig:
    """The generator's sizes, once it is found to be one that semtok has.

    Raises:
        CheckpointError: it is another generator, by the entry that says so.
        ConfigError: missing or ill-typed entries.
    """
    for name, expected in _FIXED.items():
        if str(settings.get(name, expected)) != str(expected):
            kind = "conditioned on speakers" if name in ("cond_channels", "multi_speaker") else "of this kind"
            raise CheckpointError(
                f"{where}: {name} is {settings[name]!r}, expected {expected!r}: vocoders {kind} are not supported"
            )
    dilations = settings.get("resblock_dilation_sizes")
    if not isinstance(dilations, list) or not dilations or any(entry != dilations[0] for entry in dilations):
        raise CheckpointError(f"{where}: resblock_dilation_sizes must be equal lists, got {dilations!r}")
    names = {
        "channels": "upsample_initial_channel",
        "upsample_factors": "upsample_factors",
        "upsample_kernel_sizes": "upsample_kernel_sizes",
        "resblock_kernel_sizes": "resblock_kernel_sizes",
    }
    if missing := sorted(name for name in names.values() if name not in settings):
        raise CheckpointError(f"{where} lacks the entries {missing}")
    sizes = {name: settings[theirs] for name, theirs in names.items()}
    return read_config({**sizes, "resblock_dilations": dilations[0]}, HiFiGANConfig, where)


def convert_weights(
    state: Mapping[str, Tensor], layers: int, codebook_size: int, blocks_a_resolution: int, where: str
) -> dict[str, Tensor]:
    """Weights of a `UnitHifiganGenerator` -> those of a `ScalableVocoder`, float32.

    Args:
        state: its state dict, weight normalisation in either of torch's namings.
        layers: how many layers the embedding table holds.
        codebook_size: of each of them.
        blocks_a_resolution: residual blocks at every resolution; there they stand in one list.
        where: name of the file, for errors.

    Raises:
        CheckpointError: tensors that do not belong there, or an embedding table of another size.
    """
    plain = _fold_weight_norm(state, where)
    table = plain.pop("unit_embedding.weight", None)
    rows = 1 + layers * codebook_size
    if table is None or table.ndim != 2 or len(table) != rows:
        shape = "is missing" if table is None else f"has shape {list(table.shape)}"
        raise CheckpointError(
            f"{where}: unit_embedding.weight {shape}, expected {rows} rows: one, and {codebook_size} for each of the "
            f"{layers} layers that there are codebooks of"
        )
    converted = {
        f"selector.embeddings.{position}.weight": embeddings.clone()
        for position, embeddings in enumerate(table[1:].split(codebook_size))
    }
    if layers > 1:
        converted["selector.absent"] = table[0].clone()
    elif "attn_pooling.0.weight" not in plain:
        # With one layer its weight is 1 whatever the score; the older single-layer vocoder has no attention at all.
        plain["attn_pooling.0.weight"], plain["attn_pooling.0.bias"] = torch.zeros(1, table.shape[1]), torch.zeros(1)
        plain["attn_pooling.2.weight"] = torch.zeros(1, 1)
    plain.setdefault("conv_post.conv.bias", torch.zeros(1))
    unknown = []
    for name, tensor in plain.items():
        # Predicts durations of deduplicated tokens; the generator itself was trained on every frame's token.
        if not name.startswith("var_predictor."):
            if (ours := _rename(name, blocks_a_resolution)) is None:
                unknown.append(name)
            else:
                converted[ours] = tensor
    if unknown:
        raise CheckpointError(
            f"{where} is no UnitHifiganGenerator, or of another kind: it has tensors {sorted(unknown)}"
        )
    return converted


def _rename(name: str, blocks_a_resolution: int) -> str | None:
    if match := re.fullmatch(r"attn_pooling\.(0\.weight|0\.bias|2\.weight)", name):
        return f"selector.score.{match[1]}"
    if match := re.fullmatch(r"(conv_pre|conv_post|ups\.\d+)\.conv\.(weight|bias)", name):
        return f"generator.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"resblocks\.(\d+)\.(convs[12]\.\d+)\.conv\.(weight|bias)", name):
        resolution, block = divmod(int(match[1]), blocks_a_resolution)
        return f"generator.resblocks.{resolution}.{block}.{match[2]}.{match[3]}"
    return None


def _fold_weight_norm(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """weight = magnitude x direction / |direction|, with a norm for each index of the first dimension."""
    plain = {name: tensor.float() for name, tensor in state.items()}
    for magnitude, direction in _WEIGHT_NORMS.items():
        for name in [name for name in plain if name.endswith(f".{magnitude}")]:
            base = name.removesuffix(magnitude)
            if base + direction not in plain:
                raise CheckpointError(f"{where} has the tensor {name}, but no {base}{direction}")
            scale, vectors = plain.pop(name), plain.pop(base + direction)
            norms = torch.linalg.vector_norm(vectors, dim=tuple(range(1, vectors.ndim)), keepdim=True)
            plain[f"{base}weight"] = vectors * (scale / norms)
    return plain
