"""SpeechBrain 1.1.2 itself, on random weights in its published layout, without the hub; see parity_speechbrain.py."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from semtok import Vocoder
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.speechbrain.layouts import find_layout
from semtok.checkpoints.speechbrain.reader import read_vocoder
from semtok.checkpoints.untrusted.centroids import read_centroids
from semtok.networks.scalable_vocoder import ScalableVocoder

# Beside a CPU torch, torchaudio fails to load its binary extension, which neither transformers nor SpeechBrain needs.
_EXTENSION = types.ModuleType("torchaudio._extension")
_EXTENSION.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
_EXTENSION._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
sys.modules["torchaudio._extension"] = _EXTENSION

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
layout_files = importlib.import_module("published_layout")
encoders = importlib.import_module("encoders")
discrete_ssl = importlib.import_module("speechbrain.integrations.audio_tokenizers.discrete_ssl")
# It asks the hub for k-means files; here the repository is a folder.
discrete_ssl.snapshot_download = lambda repo_id, **_: repo_id  # type: ignore[attr-defined]

CLASSES = {"hubert": "HuBERT", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}
_LARGE = {
    "hubert": (transformers.HubertModel, transformers.HubertConfig, True),
    "wav2vec2": (transformers.Wav2Vec2Model, transformers.Wav2Vec2Config, True),
    "wavlm": (transformers.WavLMModel, transformers.WavLMConfig, False),
}


@dataclass(frozen=True)
class Size:
    """What a comparison is made with."""

    layers: tuple[int, ...]
    embedding_dim: int
    attention_dim: int
    channels: int


PUBLISHED = Size((1, 3, 7, 12, 18, 23), 1024, 128, 512)
TINY = Size((1, 3, 4), 24, 8, 64)


def write_case(folder: Path, family: str, size: Size, codebook_size: int, clips: Sequence[Tensor]) -> None:
    """Random weights as a published repository, in both namings, and its encoder; in half precision's values."""
    torch.manual_seed(sorted(CLASSES).index(family))
    model = encoders.tiny_model(f"{family}-large", num_hidden_layers=4) if size == TINY else large_model(family)
    weights = {name: tensor.half().float() for name, tensor in model.state_dict().items()}
    layout_files.write_encoder(folder / "encoder", model.config.to_dict(), weights, normalize=True)
    model.load_state_dict(weights)
    centroids = codebooks(model, size.layers, codebook_size, clips)
    layout_files.write_codebooks(
        folder / "new", centroids, f"kmeans/LibriSpeech_{family}_k{codebook_size}_L{{layer}}.pt"
    )
    settings = layout_files.vocoder_settings(
        1 + len(size.layers) * codebook_size, size.embedding_dim, size.attention_dim, size.channels
    )
    torch.manual_seed(0)  # the same vocoder for all encoders
    state = generator_weights(settings)
    (folder / "settings.json").write_text(json.dumps(settings))
    layout_files.write_vocoder(folder / "new", state, settings)
    layout_files.write_vocoder(folder / "old", layout_files.older_names(state), settings)
    shutil.copytree(folder / "new" / "kmeans", folder / "old" / "kmeans")


def large_model(family: str) -> Any:
    """In the shape of the published encoders."""
    model_class, config_class, conv_bias = _LARGE[family]
    config = config_class(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        conv_bias=conv_bias,
        do_stable_layer_norm=True,
        apply_spec_augment=False,
    )
    return model_class(config).eval()


def codebooks(model: Any, layers: Sequence[int], codebook_size: int, clips: Sequence[Tensor]) -> dict[int, Tensor]:
    """By layer: frames of the clips and of shifted ones, drawn at random and moved a little."""
    features: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    with torch.inference_mode():
        for clip in (waveform[shift:] for waveform in clips for shift in (0, 107, 211)):
            hidden = model(((clip - clip.mean()) / clip.std())[None], output_hidden_states=True).hidden_states
            for layer in layers:
                features[layer].append(hidden[layer][0])
    found = {}
    for layer, parts in features.items():
        frames = torch.cat(parts)
        drawn = frames[torch.randperm(len(frames))[:codebook_size]]
        found[layer] = (drawn + 0.3 * frames.std(0) * torch.randn_like(drawn)).half().float()
    return found


def generator_weights(settings: dict[str, Any]) -> dict[str, Tensor]:
    """Of a UnitHifiganGenerator, with magnitudes that are not those of the directions, as after training."""
    generator = importlib.import_module("speechbrain.lobes.models.HifiGAN").UnitHifiganGenerator(
        in_channels=settings["embedding_dim"],
        out_channels=1,
        resblock_type="1",
        resblock_dilation_sizes=settings["dilations"],
        resblock_kernel_sizes=settings["kernels"],
        upsample_kernel_sizes=settings["upsample_kernels"],
        upsample_initial_channel=settings["channels"],
        upsample_factors=settings["factors"],
        vocab_size=settings["vocab_size"],
        embedding_dim=settings["embedding_dim"],
        attn_dim=settings["attention_dim"],
    )
    return {
        name: (tensor * (1.5 + torch.rand_like(tensor)) if name.endswith("original0") else tensor)
        .detach()
        .half()
        .float()
        for name, tensor in generator.state_dict().items()
    }


def subsets(layers: Sequence[int]) -> list[tuple[int, ...]]:
    """Each layer alone, the lowest two, the outermost two, every second one, and all."""
    several = [layers[:2], (layers[0], layers[-1]), layers[::2], layers]
    return list(dict.fromkeys([(layer,) for layer in layers] + [tuple(subset) for subset in several]))


def load_speechbrain(folder: Path, naming: str, family: str, codebook_size: int) -> Any:
    """A DiscreteSSL, frozen so that it is in eval mode."""
    encoder_class = getattr(importlib.import_module(f"speechbrain.integrations.huggingface.{family}"), CLASSES[family])
    encoder = encoder_class(str(folder / "encoder"), str(folder / "saved"), output_all_hiddens=True, freeze=True)
    return discrete_ssl.DiscreteSSL(
        save_path=str(folder / f"saved-{naming}"),
        ssl_model=encoder,
        kmeans_dataset="LibriSpeech",
        vocoder_repo_id=str(folder / naming),
        num_clusters=codebook_size,
    )


def load_vocoders(
    folder: Path, layers: Sequence[int], codebook_size: int, channels: int, dim: int = 1024
) -> tuple[Any, Vocoder]:
    """A UnitHIFIGAN of SpeechBrain of random weights, and semtok's vocoder of the same, read from the same files."""
    centroids = {layer: torch.randn(codebook_size, 4) for layer in layers}
    layout_files.write_codebooks(folder, centroids, f"kmeans/LibriSpeech_wavlm_k{codebook_size}_L{{layer}}.pt")
    settings = layout_files.vocoder_settings(1 + len(layers) * codebook_size, dim, 128, channels)
    layout_files.write_vocoder(folder, generator_weights(settings), settings)
    vocoders = importlib.import_module("speechbrain.inference.vocoders")
    theirs = vocoders.UnitHIFIGAN.from_hparams(source=str(folder), savedir=str(folder / "saved"))
    theirs.tokenize = False
    repository = Repository(str(folder), folder)
    layout = find_layout(repository)
    assert layout is not None
    parts = read_vocoder(repository, layout)
    network = ScalableVocoder(parts.config)
    network.load_state_dict(parts.weights)
    return theirs, Vocoder(parts.config, network)


def speechbrain_waveforms(theirs: Any, codes: Tensor, layers: Sequence[int]) -> dict[tuple[int, ...], Tensor]:
    """Waveforms [samples] of codes [layers, frames], by subset of layers."""
    found = {}
    for subset in subsets(layers):
        chosen = codes[[layers.index(layer) for layer in subset]]
        found[subset] = theirs.decode(chosen.T[None], SSL_layers=list(subset))[0, 0]
    return found


def write_references(
    target: Path, folder: Path, codes: Mapping[str, Tensor], drawn: Tensor, waveforms: Mapping[tuple[int, ...], Tensor]
) -> None:
    """Writes what a test needs to ask semtok the same: weights, in half precision, which holds them, and answers.

    ENCODER.safetensors for the tokens of each encoder, and vocoder.safetensors, which does not depend on it.
    """
    config = (folder / "encoder" / "config.json").read_text()
    weights = load_file(folder / "encoder" / "model.safetensors")
    tensors = {f"encoder.{name}": tensor.half() for name, tensor in weights.items()}
    for file in (folder / "new" / "kmeans").iterdir():
        tensors[f"centroids.{file.stem.split('_L')[1]}"] = read_centroids(file).half()
    tensors |= {f"codes.{clip}": found.short() for clip, found in codes.items()}
    _save(target / f"{json.loads(config)['model_type']}.safetensors", tensors, {"config": config})
    state = torch.load(folder / "new" / "generator.ckpt", weights_only=True)
    tensors = {f"generator.{name}": tensor.half() for name, tensor in state.items()} | {"codes": drawn.short()}
    tensors |= {f"waveform.{'-'.join(map(str, subset))}": waveform for subset, waveform in waveforms.items()}
    _save(target / "vocoder.safetensors", tensors, {"settings": (folder / "settings.json").read_text()})


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
    path.chmod(0o644)
