"""What the experiments share: their setting, clips encoded once, measuring, and files that keep what was found."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import yaml

from semtok import Tokenizer, Tokens, Vocoder
from semtok.checkpoints.config import Config, read_config
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import resolve
from semtok.codebooks.fingerprint import weights_identity
from semtok.encoder.encoder import Encoder
from semtok.evaluation import metrics
from semtok.evaluation.speakers import RESEMBLYZER, SpeakerModel, load_speaker_model
from semtok.speech.store import Store, open_store
from semtok.support.atomic import atomic_write
from semtok.training.data.corpus import Corpus, load_corpus
from semtok.training.data.encoded import Features

if TYPE_CHECKING:
    from semtok.evaluation.recognizers import Recognizer

COMMON = Path(__file__).with_suffix(".yaml")

Scores: TypeAlias = dict[str, list[float]]
"""Of each metric, the value of every clip."""

_COMPARED = ("stoi", "pesq", "log_mel_distance")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """`common.yaml`, where the entries are explained, and an experiment's own YAML over it."""

    normalize: bool
    layers: tuple[int, ...]
    codebook_size: int
    fit_frames: int
    iterations: int
    seeds: tuple[int, ...]
    clip_seconds: float
    vocoder: dict[str, Any]


def parse_options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="folder of speech to learn from")
    parser.add_argument("--test", type=Path, required=True, help="folder of speech to measure on")
    parser.add_argument("--encoder", default="tiny", help="a checkpoint, or a folder in transformers' layout")
    parser.add_argument("--output", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    return parser.parse_args()


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """What experiments that listen to words have in common: the recognizer, and where the waveforms go."""
    parser.add_argument("--recognizer", help="Whisper or CTC model of transformers: folder or hub id")
    parser.add_argument("--recognizer-dtype", default="float32", help="bfloat16 is faster and changes some words")
    parser.add_argument("--output", type=Path, help="folder for the waveforms")


def prepare_judge(options: argparse.Namespace) -> Recognizer | None:
    """The recognizer of `add_judge_options`, if one is given; the folder is made."""
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    if options.recognizer is None:
        return None
    from semtok.evaluation.recognizers import load_recognizer

    return load_recognizer(options.recognizer, dtype=options.recognizer_dtype)


def read_setting(*files: Path, kind: type[Config], quick: bool) -> Config:
    """YAML files, each over those before it."""
    entries: dict[str, Any] = {}
    hurried: dict[str, Any] = {}
    for path in files:
        entries |= yaml.safe_load(path.read_text())
        hurried |= entries.pop("quick", {})
    return read_config(entries | hurried if quick else entries, kind, str(files[-1]))


def digest(*about: Any) -> str:
    """Eight bytes that tell what was made of one thing from what was made of another, for names of files."""
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def kept(path: Path, wanted: dict[str, Any], make: Callable[[], Any]) -> Any:
    """What `make` answers, or what an earlier call with an equal `wanted` has left in the file."""
    wanted = json.loads(json.dumps(wanted))
    if path.exists() and (record := json.loads(path.read_text()))["wanted"] == wanted:
        return record["found"]
    found = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside:
        aside.write_text(json.dumps({"wanted": wanted, "found": found}))
    return found


@dataclass(frozen=True)
class Speech:
    """Clips and their features float16 [frames, layers, dim].

    `folders` has for each clip the folder that it lies in, of those directly below the one given.
    """

    corpus: Corpus
    folders: np.ndarray
    store: Store

    @property
    def frames(self) -> np.ndarray:
        """Frames of each clip, [clips]."""
        return self.store["features"].lengths

    def features(self, position: int) -> np.ndarray:
        """float16 [frames, dim]: those of one of the layers, of all clips."""
        values = self.store["features"]
        return np.concatenate([values[clip][:, position] for clip in range(len(values))])

    def frames_in(self, folders: Sequence[str]) -> np.ndarray:
        """bool [frames]: which lie in one of the folders; all of them if none are given."""
        chosen = np.isin(self.folders, folders) if folders else np.ones(len(self.folders), bool)
        return np.repeat(chosen, self.frames)


def load_speech(folder: Path, encoder: Encoder, layers: Sequence[int], cache: Path) -> Speech:
    """The clips of a folder, decoded and encoded into `cache` the first time."""
    corpus = load_corpus([folder], cache, sample_rate=encoder.sample_rate)
    maker = Features(encoder, tuple(layers), weights_identity(encoder.model))
    store = open_store(corpus.parts(), maker, cache / "features", description="features")
    folders = np.array([Path(clip.path).relative_to(folder).parts[0] for clip in corpus.clips])
    return Speech(corpus, folders, store)


def load_encoder(name: str, layers: Sequence[int], *, normalize: bool) -> Encoder:
    """The encoder of a semtok checkpoint, or of a folder in transformers' layout."""
    source = resolve(name)
    if "format_version" in json.loads(source.file("config.json").read_text()):
        return Tokenizer.from_pretrained(name, layers=layers).encoder
    return Encoder(read_encoder(source, max(layers)), normalize=normalize)


def measure(vocoder: Vocoder, clips: Sequence[tuple[np.ndarray, Tokens]], layers: Sequence[int]) -> Scores:
    """What a vocoder makes of some layers of each clip's tokens, compared with its waveform [samples].

    One with a speaker encoder is given the embedding of the clip itself.
    """
    scores: Scores = {name: [] for name in (*_COMPARED, "dnsmos", "speaker_similarity")}
    for waveform, tokens in clips:
        speaker = None if vocoder.config.speaker is None else vocoder.speaker(waveform)
        output = vocoder.decode(tokens, layers=layers, speaker=speaker)[0].numpy()
        length = min(len(waveform), len(output))
        pair = waveform[:length], output[:length]
        for name in _COMPARED:
            scores[name].append(getattr(metrics, name)(*pair))
        scores["dnsmos"].append(metrics.dnsmos(pair[1]))
        scores["speaker_similarity"].append(metrics.speaker_similarity(*map(_speaker_model().embed, pair)))
    return scores


@cache
def _speaker_model() -> SpeakerModel:
    return load_speaker_model(RESEMBLYZER)
