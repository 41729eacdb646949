"""Pretrained encoders to learn from: their features of a corpus, computed once, as targets of regression.

DistilHuBERT (Chang et al., 2022) predicts a teacher's features by linear maps. Here they are first brought to whitened
principal components, so that a few directions of large variance do not decide the loss.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import Repository, resolve
from semtok.encoder.encoder import Encoder
from semtok.errors import AudioError, CheckpointError, ConfigError
from semtok.speech.store import ALONE, Copies, Form, Processes, Values, open_store
from semtok.support.atomic import atomic_write
from semtok.training.data.corpus import Corpus
from semtok.training.encoder.config import Teacher

_FIT_HOURS = 0.5
_PREPROCESSOR = "preprocessor_config.json"


class TeacherEncoder(Protocol):
    """A frozen encoder of 50 or so frames a second."""

    sample_rate: int
    hop_length: int
    centre: float
    """The sample on which frame 0 is centred."""

    dim: int
    num_layers: int

    def frame_count(self, samples: int) -> int:
        """Frames of a clip."""

    def features(self, waveforms: Sequence[Tensor], layers: Sequence[int]) -> list[list[Tensor]]:
        """Waveforms [samples] -> of each layer, of each clip: float32 [frames, dim] on the CPU."""


class SelfSupervised:
    """An encoder of one of semtok's families."""

    def __init__(self, source: Repository, layers: int, device: torch.device) -> None:
        described = source.find(_PREPROCESSOR) is not None
        normalize = not described or bool(source.read_json(_PREPROCESSOR).get("do_normalize", True))
        self._encoder = Encoder(read_encoder(source, layers), normalize=normalize).to(device, torch.bfloat16)
        self._device = device
        self.sample_rate = self._encoder.sample_rate
        self.hop_length = self._encoder.hop_length
        self.centre = self._encoder.minimum_samples / 2
        self.dim = self._encoder.dim
        self.num_layers = self._encoder.num_layers

    def frame_count(self, samples: int) -> int:
        return self._encoder.frame_count(samples)

    def features(self, waveforms: Sequence[Tensor], layers: Sequence[int]) -> list[list[Tensor]]:
        answers: list[list[Tensor]] = [[] for _ in layers]
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        order = lengths.argsort(descending=True)
        by_clip: dict[int, list[Tensor]] = {}
        for part in order.split(8):
            batch = pad_sequence([waveforms[i] for i in part], batch_first=True).to(self._device)
            features, frames = self._encoder(batch, lengths[part], layers)
            for row, clip in enumerate(part.tolist()):
                by_clip[clip] = list(features[row, :, : frames[row]].float().cpu())
        for clip in range(len(waveforms)):
            for answer, layer_features in zip(answers, by_clip[clip], strict=True):
                answer.append(layer_features)
        return answers


class Whisper:
    """The encoder of a Whisper, on clips packed into its windows of 30 s, a little silence between them.

    Its log-mel front end relates levels to the loudest of a window, so clips are first brought to one loudness.
    """

    sample_rate = 16000
    hop_length = 320
    centre = 0.0

    def __init__(self, source: Repository, layers: int, device: torch.device) -> None:
        from transformers import WhisperFeatureExtractor, WhisperModel

        for name in (CONFIG, _PREPROCESSOR, "model.safetensors"):
            source.file(name)
        folder = source.file(CONFIG).parent
        self._extractor = WhisperFeatureExtractor.from_pretrained(folder)
        encoder = WhisperModel.from_pretrained(folder, dtype=torch.bfloat16).encoder.to(device).eval()
        self.dim = int(encoder.config.d_model)
        self.num_layers = len(encoder.layers)
        if layers < self.num_layers:  # the last layer's features come after the final norm, which must then stay
            encoder.layers = encoder.layers[:layers]
            encoder.layer_norm = torch.nn.Identity()
        self._encoder, self._device = encoder, device
        self._window = int(self._extractor.n_samples)

    def frame_count(self, samples: int) -> int:
        return samples // self.hop_length

    @torch.inference_mode()
    def features(self, waveforms: Sequence[Tensor], layers: Sequence[int]) -> list[list[Tensor]]:
        pieces = [
            (clip, piece)
            for clip, waveform in enumerate(waveforms)
            for piece in _equally_loud(waveform).split(self._window)
        ]
        windows = _pack([len(piece) for _, piece in pieces], self._window, gap=16 * self.hop_length)
        answers: list[list[list[Tensor]]] = [[[] for _ in waveforms] for _ in layers]
        for window in windows:
            packed = torch.zeros(self._window)
            for number, offset in window:
                packed[offset : offset + len(pieces[number][1])] = pieces[number][1]
            mel = self._extractor(packed.numpy(), sampling_rate=self.sample_rate, return_tensors="pt").input_features
            states = self._encoder(mel.to(self._device, torch.bfloat16), output_hidden_states=True).hidden_states
            for number, offset in window:
                clip, piece = pieces[number]
                first = offset // self.hop_length
                for answer, layer in zip(answers, layers, strict=True):
                    frames = states[layer][0, first : first + self.frame_count(len(piece))]
                    answer[clip].append(frames.float().cpu())
        return [[torch.cat(parts) for parts in answer] for answer in answers]


def _equally_loud(waveform: Tensor) -> Tensor:
    return (waveform * (0.05 / waveform.square().mean().sqrt().clamp(min=1e-4))).clamp(-1, 1)


def _pack(lengths: Sequence[int], window: int, gap: int) -> list[list[tuple[int, int]]]:
    """(piece, offset) of each window: pieces one after the other, each from a multiple of the gap."""
    windows: list[list[tuple[int, int]]] = []
    end = window + 1
    for number, length in enumerate(lengths):
        if end + length > window:
            windows.append([])
            end = 0
        windows[-1].append((number, end))
        end = (end + length + 2 * gap - 1) // gap * gap
    return windows


def open_teacher(teacher: Teacher, layers: int, device: torch.device) -> TeacherEncoder:
    """The encoder of a teacher up to the layer asked for.

    Raises:
        CheckpointError: no such encoder, or not one that speech goes into.
        ConfigError: it has fewer layers.
    """
    source = resolve(teacher.encoder, revision=teacher.revision)
    described = source.read_json(CONFIG)
    depth = described.get("encoder_layers" if described.get("model_type") == "whisper" else "num_hidden_layers")
    if not isinstance(depth, int):
        raise CheckpointError(f"the teacher {teacher.encoder} is no speech encoder: its {CONFIG} names no layers")
    if not 0 <= layers <= depth:
        raise ConfigError(f"the teacher {teacher.encoder} has layers 0 to {depth}, asked for layer {layers}")
    if described["model_type"] == "whisper":
        return Whisper(source, layers, device)
    return SelfSupervised(source, layers, device)


@dataclass(frozen=True)
class TeacherFeatures:
    """Targets of a corpus: whitened principal components, float16 [frames, components] of each clip.

    `centre` is the sample on which a clip's frame 0 is centred.
    """

    values: Values
    centre: float
    hop_length: int

    def crop(self, clips: np.ndarray, starts: np.ndarray, frames: int, centre: float) -> Tensor:
        """float32 [batch, frames, components] for frames of an encoder that has its frame 0 centred on `centre`.

        `starts` are first frames in each clip. Past the teacher's last frame that frame is repeated.
        """
        shift = round((centre - self.centre) / self.hop_length)
        crops = []
        for clip, start in zip(clips.tolist(), starts.tolist(), strict=True):
            values = self.values[clip]
            crops.append(values[np.clip(start + shift + np.arange(frames), 0, len(values) - 1)])
        return torch.from_numpy(np.stack(crops).astype(np.float32))


def teacher_features(
    teachers: Sequence[Teacher],
    corpus: Corpus,
    folder: Path,
    *,
    sample_rate: int,
    hop_length: int,
    device: torch.device,
    processes: Processes = ALONE,
) -> list[TeacherFeatures]:
    """The targets of each teacher, from `folder` or computed into it; a computation that was stopped goes on.

    Teachers that are layers of one encoder share its run over the corpus.

    Raises:
        CheckpointError, ConfigError: as `open_teacher`; another sample rate or frame rate than the student's; more
            components than dimensions.
    """
    answers: dict[int, TeacherFeatures] = {}
    numbered = sorted(enumerate(teachers), key=lambda pair: (pair[1].encoder, pair[1].revision or ""))
    for (name, _), group in itertools.groupby(numbered, key=lambda pair: (pair[1].encoder, pair[1].revision)):
        members = list(group)
        encoder = open_teacher(members[0][1], max(teacher.layer for _, teacher in members), device)
        _check(encoder, [teacher for _, teacher in members], sample_rate, hop_length)
        components = {teacher.layer: teacher.components for _, teacher in members}
        weights, of_encoder = _weights_of(members[0][1]), folder / Path(name).name
        whitening = _load_whitening(encoder, weights, components, corpus, of_encoder, processes)
        maker = Components(encoder, weights, whitening, corpus.digest)
        store = open_store(
            corpus.parts(), maker, of_encoder, processes=processes, description=f"features of {of_encoder.name}"
        )
        for number, teacher in members:
            values = store[_name(teacher.layer)]
            answers[number] = TeacherFeatures(values, encoder.centre, encoder.hop_length)
    return [answers[number] for number in range(len(teachers))]


@dataclass(frozen=True)
class Components:
    """Makes whitened principal components of the features of a teacher's layers, float16 [frames, components] each.

    Args:
        encoder: of the teacher.
        weights: tell them from others'.
        whitening: mean [dim] and directions [dim, components] of each layer.
        fitted_to: digest of the corpus that the whitening is fitted to.
    """

    encoder: TeacherEncoder
    weights: str
    whitening: Mapping[int, tuple[Tensor, Tensor]]
    fitted_to: str

    @property
    def identity(self) -> Any:
        return {"teacher": self.weights, "layers": list(self.whitening), "whitening": self.fitted_to}

    @property
    def forms(self) -> Mapping[str, Form]:
        dtype = np.dtype(np.float16)
        return {_name(layer): Form(dtype, (part.shape[1],)) for layer, (_, part) in self.whitening.items()}

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        layered = self.encoder.features(waveforms, list(self.whitening))
        for number, features in enumerate(zip(*layered, strict=True)):
            components = zip(self.whitening.items(), features, strict=True)
            yield (
                number,
                [{_name(layer): ((of - mean) @ part).half().numpy() for (layer, (mean, part)), of in components}],
            )


def _name(layer: int) -> str:
    return f"layer_{layer}"


def _check(encoder: TeacherEncoder, teachers: Sequence[Teacher], sample_rate: int, hop_length: int) -> None:
    for teacher in teachers:
        if not 1 <= teacher.components <= encoder.dim:
            raise ConfigError(
                f"features of {teacher.encoder} have {encoder.dim} dimensions, "
                f"{teacher.components} components were asked for"
            )
    theirs, ours = (encoder.sample_rate, encoder.hop_length), (sample_rate, hop_length)
    if theirs != ours:
        rates = [f"{rate} Hz with {rate / hop:g} frames a second" for rate, hop in (theirs, ours)]
        raise ConfigError(f"the teacher {teachers[0].encoder} works at {rates[0]}, the student at {rates[1]}")


def _load_whitening(
    encoder: TeacherEncoder,
    weights: str,
    components: Mapping[int, int],
    corpus: Corpus,
    folder: Path,
    processes: Processes,
) -> dict[int, tuple[Tensor, Tensor]]:
    """Mean [dim] and directions [dim, components] of each layer, fitted once to a sample of clips."""
    about = json.dumps([weights, list(components.items()), corpus.digest])
    file = folder / f"whitening-{hashlib.sha256(about.encode()).hexdigest()[:16]}.pt"
    if processes.index == 0 and not file.exists():
        order = np.random.default_rng(0).permutation(len(corpus))
        ends = np.cumsum(corpus.lengths[order]) / encoder.sample_rate / 3600
        sample = order[: 1 + int(np.searchsorted(ends, _FIT_HOURS))].tolist()
        layered = encoder.features([corpus.waveform(clip) for clip in sample], list(components))
        fitted = [
            _whiten(torch.cat(features), count) for features, count in zip(layered, components.values(), strict=True)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as aside:
            torch.save(fitted, aside)
    processes.wait()
    return dict(zip(components, torch.load(file, weights_only=True), strict=True))


def _whiten(points: Tensor, components: int) -> tuple[Tensor, Tensor]:
    mean = points.mean(0)
    eigenvalues, eigenvectors = torch.linalg.eigh(torch.cov((points - mean).T.double()))
    scales = eigenvalues.flip(0)[:components].clamp(min=1e-10).rsqrt()
    return mean, (eigenvectors.flip(1)[:, :components] * scales).float()


def _weights_of(teacher: Teacher) -> str:
    """The commit of a hub id, or a hash of a folder's weights."""
    source = resolve(teacher.encoder, revision=teacher.revision)
    file = source.file("model.safetensors", "pytorch_model.bin")
    if source.folder is None:
        return file.parent.name
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(2**22):
            digest.update(block)
    return digest.hexdigest()
