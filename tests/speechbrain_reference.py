"""What SpeechBrain made of the weights in data/speechbrain, those weights as published files, and semtok made of them.

benchmarks/parity_speechbrain.py asks SpeechBrain and writes that folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from helpers import DATA
from published_layout import older_names, write_codebooks, write_encoder, write_vocoder
from safetensors import safe_open
from torch import Tensor

from semtok import Tokenizer, Tokens, Vocoder
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.speechbrain.layouts import find_layout
from semtok.checkpoints.speechbrain.published import Layout
from semtok.checkpoints.speechbrain.reader import read_tokenizer, read_vocoder
from semtok.encoder.encoder import Encoder
from semtok.networks.scalable_vocoder import ScalableVocoder

REFERENCES = DATA / "speechbrain"
LAYERS = (1, 3, 4)
CODEBOOK_SIZE = 20


class Reference:
    """Weights, written in the published layout, and what SpeechBrain made with them."""

    def __init__(self, family: str, folder: Path) -> None:
        self.folder = folder
        self.encoder = str(folder / "encoder")
        tensors, described = _read(family)
        write_encoder(folder / "encoder", json.loads(described["config"]), _part(tensors, "encoder."), normalize=True)
        self.centroids = {int(layer): points for layer, points in _part(tensors, "centroids.").items()}
        self.codes = _part(tensors, "codes.")
        tensors, described = _read("vocoder")
        self.settings: dict[str, Any] = json.loads(described["settings"])
        self.generator = _part(tensors, "generator.")
        self.decoded = tensors["codes"]
        self.waveforms = {
            tuple(map(int, layers.split("-"))): waveform for layers, waveform in _part(tensors, "waveform.").items()
        }
        name = f"kmeans/LibriSpeech_{family}_k{CODEBOOK_SIZE}_L{{layer}}.pt"
        write_codebooks(folder / "new", self.centroids, name)
        shutil.copytree(folder / "new", folder / "old")
        write_vocoder(folder / "new", self.generator, self.settings)
        write_vocoder(folder / "old", older_names(self.generator), self.settings)

    def tokens(self, vocoder: Vocoder) -> Tokens:
        """Those that SpeechBrain decoded, of all layers."""
        lengths = torch.tensor([self.decoded.shape[1]])
        return Tokens(self.decoded[None], lengths, LAYERS, 50.0, (CODEBOOK_SIZE,) * 3, vocoder.fingerprint)


def _read(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(REFERENCES / f"{name}.safetensors", framework="pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        tensors = {
            key: tensor.float() if tensor.is_floating_point() else tensor.long() for key, tensor in stored.items()
        }
        return tensors, file.metadata()


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def layout_of(folder: Path, **choice: Any) -> Layout:
    return find_layout(Repository(str(folder), folder), **choice)


def load_tokenizer(folder: Path, encoder: str, layers: Sequence[int] | None = None) -> Tokenizer:
    parts = read_tokenizer(Repository(str(folder), folder), layout_of(folder), layers=layers, encoder=encoder)
    config = parts.config
    model = read_encoder(parts.encoder, max(parts.centroids))
    encoder_module = Encoder(model, normalize=config.normalize, normalize_epsilon=config.normalize_epsilon)
    return Tokenizer(config, encoder_module, parts.centroids)


def load_vocoder(folder: Path) -> Vocoder:
    parts = read_vocoder(Repository(str(folder), folder), layout_of(folder))
    network = ScalableVocoder(parts.config)
    network.load_state_dict(parts.weights)
    return Vocoder(parts.config, network)
