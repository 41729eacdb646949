"""Speaker models that judge whether a voice is still the same."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
import torch

from semtok.errors import CheckpointError
from semtok.evaluation.metrics import SAMPLE_RATE, Voice, Waveform
from semtok.evaluation.models import PREPROCESSOR, fetch_files, find_model, load_model, read_architecture

RESEMBLYZER = "resemblyzer"


class SpeakerModel(Protocol):
    """What hears a voice.

    Attributes:
        name: hub id and commit, or folder, or package and version.
    """

    name: str

    def embed(self, waveform: Waveform) -> Voice:
        """The voice in float32 [samples] at 16 kHz: [dim] of unit length, NaN where there is too little speech."""


class XVector:
    """A model of transformers that was trained to tell speakers apart by x-vectors (Snyder et al., 2018)."""

    def __init__(self, name: str, model: Any, features: Any) -> None:
        self.name = name
        self._model, self._features = model, features
        config = model.config
        self._frames = 1 + sum(
            (kernel - 1) * dilation for kernel, dilation in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True)
        )

    @torch.inference_mode()
    def embed(self, waveform: Waveform) -> Voice:
        if not waveform.any() or self._model._get_feat_extract_output_lengths(len(waveform)) <= self._frames:
            return np.full(self._model.config.xvector_output_dim, np.nan, np.float32)
        inputs = self._features(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        values = inputs.input_values.to(self._model.device, self._model.dtype)
        embedding = torch.nn.functional.normalize(self._model(values).embeddings[0].float(), dim=0)
        voice: Voice = embedding.cpu().numpy()
        return voice


class Resemblyzer:
    """Wan et al., "Generalized End-to-End Loss for Speaker Verification", 2018; the model that the package brings."""

    def __init__(self) -> None:
        from importlib.metadata import version

        self.name = f"{RESEMBLYZER} {version(RESEMBLYZER)}"
        with warnings.catch_warnings():
            # it imports scipy.ndimage.morphology and pkg_resources, deprecated both
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
            from resemblyzer import VoiceEncoder

        self._model = VoiceEncoder("cpu", verbose=False)

    def embed(self, waveform: Waveform) -> Voice:
        from resemblyzer import preprocess_wav
        from threadpoolctl import threadpool_limits

        speech = preprocess_wav(waveform) if waveform.any() else waveform[:0]
        if len(speech) == 0:
            return np.full(256, np.nan, np.float32)
        # an LSTM waits for all threads at every step: 0.1 s with one, up to 50 s with several on busy cores
        with threadpool_limits(1, user_api="openmp"):  # of this thread; torch.set_num_threads would be of the process
            voice: Voice = self._model.embed_utterance(speech)
        return voice


def load_speaker_model(
    name: str = "microsoft/wavlm-base-plus-sv",
    *,
    device: str | torch.device = "cpu",
    local_files_only: bool = False,
) -> SpeakerModel:
    """A speaker model.

    Args:
        name: folder or hub id (`owner/name`, or `owner/name@commit`) of a model of transformers for x-vectors; or
            "resemblyzer", which comes with the extra `eval` and runs on the CPU.
        device: where it runs.
        local_files_only: never ask the hub.

    Raises:
        CheckpointError: files are missing or corrupt, or of a model of another kind.
    """
    if name == RESEMBLYZER:
        return Resemblyzer()
    from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

    repository = find_model(name, local_files_only=local_files_only)
    architecture = read_architecture(repository)
    if not architecture.endswith("ForXVector"):
        raise CheckpointError(f"{name} is a {architecture}: a speaker model is a ...ForXVector, or {RESEMBLYZER!r}")
    folder = fetch_files(repository, [(PREPROCESSOR,)])
    model = load_model(AutoModelForAudioXVector, folder, torch.float32, device)
    features = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    return XVector(str(repository), model, features)
