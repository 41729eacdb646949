"""ONNX files of a tokenizer and a vocoder, and how far they agree with torch."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semtok.audio.io import load_audio
from semtok.checkpoints.hub import public_name
from semtok.codebooks.layers import Layer, check_layers
from semtok.errors import SemtokError, needs_extra
from semtok.export.graphs import ChoosingVocoderGraph, TokenizerGraph, VocoderGraph
from semtok.networks.generators.hifigan import HiFiGAN
from semtok.support.atomic import atomic_folder
from semtok.support.json import read_json
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder

TOKENIZER, VOCODER, DESCRIPTION = "tokenizer.onnx", "vocoder.onnx", "semtok.json"
_OPSET = 18
# A file of protobuf holds 2 GiB; larger weights lie beside it.
_MOST_BYTES = 1_800_000_000
_EXAMPLE_FRAMES = 60
# Margin of a frame's two nearest centroids below which engines may round to either.
_TIE = 1e-3


def export_onnx(
    folder: str | os.PathLike[str],
    tokenizer: Tokenizer,
    vocoder: Vocoder | None = None,
    *,
    layers: Sequence[Layer] | None = None,
    choose_rows: bool = False,
) -> list[Path]:
    """Writes `tokenizer.onnx`, `vocoder.onnx` if there is a vocoder, and `semtok.json`, which describes them.

    The tokenizer takes `waveform` float32 [1, samples] at its sample rate and gives `codes` int64 [1, rows, frames].
    The vocoder takes these, and `speaker` float32 [1, dim] (zeros for none) if it can be told whose voice, and gives
    `waveform` float32 [1, frames x hop_length]. Clips may have any length; each goes through alone and whole.

    Args:
        folder: new, or empty.
        tokenizer, vocoder: of one checkpoint, in float32.
        layers: to encode and decode, in this order; by default all that both have.
        choose_rows: the vocoder takes `keep` float32 [rows] after the codes: 1 for rows that it decodes, 0 for others.

    Returns:
        The paths of the files.

    Raises:
        LayerError: a layer that one of the two lacks.
        CheckpointError: an encoder that cannot be exported.
        SemtokError: a folder with something in it; a tokenizer and vocoder of two checkpoints, or rounded by `dtype`;
            the extra `onnx` is not installed.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SemtokError(f"{folder} is not empty: give a new folder")
    parts: list[Tokenizer | Vocoder] = [tokenizer] if vocoder is None else [tokenizer, vocoder]
    if tokenizer.config.segmentation is not None:
        raise SemtokError(
            f"a tokenizer of segments ({tokenizer.config.segmentation.name}) cannot be exported: its codes depend on "
            "the whole clip; export the tokenizer of frames that it was made of"
        )
    if any(part.dtype != torch.float32 for part in parts):
        raise SemtokError("only float32 can be exported: load tokenizer and vocoder without `dtype`")
    if len({part.fingerprint for part in parts}) > 1:
        raise SemtokError("the vocoder is of another tokenizer: load both from one checkpoint")
    both = [layer for layer in tokenizer.layers if all(layer in part.layers for part in parts)]
    chosen = check_layers(both if layers is None else layers, both, owner="this checkpoint")
    description = _describe(tokenizer, vocoder, chosen)
    samples = tokenizer.encoder.minimum_samples + _EXAMPLE_FRAMES * tokenizer.hop_length
    with atomic_folder(folder) as aside:
        waveform = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
        lengths = {1: torch.export.Dim("samples", min=description["minimum_samples"])}
        _export(TokenizerGraph(tokenizer, chosen), aside / TOKENIZER, {"waveform": waveform}, [lengths], "codes")
        if vocoder is not None:
            inputs = {"codes": torch.zeros(1, len(description["rows"]), _EXAMPLE_FRAMES, dtype=torch.int64)}
            shapes: list[dict[int, Any]] = [{2: torch.export.Dim("frames", min=description["minimum_frames"])}]
            if choose_rows:
                inputs["keep"] = torch.ones(len(description["rows"]))
                shapes.append({})
            if vocoder.config.speaker is not None:
                inputs["speaker"] = torch.zeros(1, vocoder.config.speaker.dim)
                shapes.append({})
            graph = ChoosingVocoderGraph if choose_rows else VocoderGraph
            _export(graph(vocoder, chosen), aside / VOCODER, inputs, shapes, "waveform")
        (aside / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return sorted(folder.iterdir())


@dataclass(frozen=True)
class OnnxAgreement:
    """How far an export agrees with torch on some clips.

    Args:
        codes: all there are.
        equal: of them the same.
        ties: of the others, those whose two nearest centroids are nearly as far, so that rounding decides.
        waveform_difference: largest difference of a sample decoded from the same codes; 0 without a vocoder.
    """

    codes: int
    equal: int
    ties: int
    waveform_difference: float


def compare_onnx(
    folder: str | os.PathLike[str],
    tokenizer: Tokenizer,
    vocoder: Vocoder | None,
    clips: Sequence[str | os.PathLike[str]],
) -> OnnxAgreement:
    """Encodes and decodes clips by onnxruntime and by torch.

    Raises:
        SemtokError: the extra `onnx` is not installed.
    """
    with needs_extra("onnx"):
        import onnxruntime
    folder = Path(folder)
    description = read_json(folder / DESCRIPTION, SemtokError)
    layers = description["layers"]
    providers = ["CPUExecutionProvider"]
    encoder = onnxruntime.InferenceSession(folder / TOKENIZER, providers=providers)
    decoder = None if vocoder is None else onnxruntime.InferenceSession(folder / VOCODER, providers=providers)
    total = OnnxAgreement(0, 0, 0, 0.0)
    for clip in clips:
        waveform = load_audio(clip, sample_rate=tokenizer.sample_rate)
        (codes,) = encoder.run(None, {"waveform": waveform[None].numpy()})
        tokens = tokenizer.encode(waveform, layers=layers)
        differ = codes != tokens.codes.cpu().numpy()
        margins = tokenizer.network.margins(tokenizer.features(waveform, layers=layers), layers).numpy()
        # what a row leaves over decides its later stages
        tied = np.isin(differ, True) & (_least_before(margins, tokens.codebooks.stages) < _TIE)
        difference = 0.0
        if vocoder is not None and decoder is not None:
            inputs = {"codes": tokens.codes.cpu().numpy()}
            if any(node.name == "keep" for node in decoder.get_inputs()):
                inputs["keep"] = np.ones(len(description["rows"]), np.float32)
            if description["speaker_dim"]:
                inputs["speaker"] = np.zeros((1, description["speaker_dim"]), np.float32)
            (decoded,) = decoder.run(None, inputs)
            difference = float(np.abs(decoded - vocoder.decode(tokens).cpu().numpy()).max())
        total = OnnxAgreement(
            total.codes + codes.size,
            total.equal + int((~differ).sum()),
            total.ties + int(tied.sum()),
            max(total.waveform_difference, difference),
        )
    return total


def _least_before(margins: np.ndarray, stages: Sequence[int]) -> np.ndarray:
    """The least margin of each stage and those before it, of margins [1, rows, frames]."""
    parts = np.split(margins, np.cumsum(stages)[:-1], axis=1)
    least: np.ndarray = np.concatenate([np.minimum.accumulate(part, axis=1) for part in parts], axis=1)
    return least


def _describe(tokenizer: Tokenizer, vocoder: Vocoder | None, layers: Sequence[Layer]) -> dict[str, Any]:
    codebooks = tokenizer.codebooks.select(layers, owner="the tokenizer")
    description = {
        "fingerprint": tokenizer.fingerprint,
        "checkpoint": public_name(tokenizer.source),
        "layers": list(layers),
        "rows": list(codebooks.names),
        "codebook_sizes": list(codebooks.sizes),
        "sample_rate": tokenizer.sample_rate,
        "hop_length": tokenizer.hop_length,
        "minimum_samples": tokenizer.encoder.minimum_samples + tokenizer.hop_length,
    }
    if vocoder is not None:
        generator = vocoder.network.generator
        # HiFi-GAN reflects what it pads with, for which there must be as many frames
        least = 1 + max(generator.receptive_frames) if isinstance(generator, HiFiGAN) else 2
        description |= {
            "output_sample_rate": vocoder.sample_rate,
            "output_hop_length": vocoder.hop_length,
            "speaker_dim": vocoder.config.speaker.dim if vocoder.config.speaker else None,
            "minimum_frames": least,
        }
    return description


def _export(
    graph: nn.Module, path: Path, inputs: dict[str, Tensor], shapes: Sequence[dict[int, Any]], output: str
) -> None:
    with needs_extra("onnx"):
        import onnxscript  # noqa: F401  # by which torch writes the file
    graph = graph.requires_grad_(False).eval()
    size = sum(tensor.nbytes for tensor in [*graph.parameters(), *graph.buffers()])
    with _quiet_exporter(), torch.no_grad():
        torch.onnx.export(
            graph,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple(shapes),
            opset_version=_OPSET,
            external_data=size > _MOST_BYTES,
            dynamo=True,
            verbose=False,
        )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what torch's exporter says about itself, and about torchvision where it is not installed."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
