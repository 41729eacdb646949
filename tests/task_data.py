"""Random clips with manifests, and a tokenizer of random weights, for the training of tasks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from encoders import tiny_model
from helpers import write_csv

from semtok import Tokenizer, save_audio
from semtok.downstream.classifier import ClassifierConfig
from semtok.downstream.config import FrontConfig
from semtok.downstream.conformer import ConformerConfig
from semtok.downstream.enhancer import EnhancerConfig
from semtok.downstream.pooling import PoolingConfig, StatisticsConfig
from semtok.downstream.recognizer import LSTMConfig, RecognizerConfig
from semtok.downstream.synthesizer import SynthesizerConfig
from semtok.downstream.verifier import VerifierConfig
from semtok.training.data.disturbances import Disturbances
from semtok.training.downstream.classifier import ClassifierTrainingConfig
from semtok.training.downstream.config import (
    AugmentationConfig,
    Batches,
    FrontTraining,
    TaskConfig,
    TaskData,
    TaskSchedule,
)
from semtok.training.downstream.enhancer import EnhancerTrainingConfig
from semtok.training.downstream.recognizer import RecognizerTrainingConfig
from semtok.training.downstream.synthesizer import SynthesizerTrainingConfig
from semtok.training.downstream.trainer import train_task
from semtok.training.downstream.verifier import VerifierTrainingConfig

CONFORMER = ConformerConfig(dim=16, layers=1, heads=2, feedforward=16, kernel=3)
POOLING = PoolingConfig(statistics=StatisticsConfig())
TEXTS = ("ONE TWO", "THREE", "FOUR FIVE", "SIX")


def make_room(folder: Path) -> Path:
    """A folder with a tokenizer, noise, and a manifest of thirteen clips and two that cannot be used."""
    generator = torch.Generator().manual_seed(0)
    centroids = {layer: torch.randn(8, 32, generator=generator) for layer in (1, 2, 3)}
    Tokenizer.from_centroids(tiny_model("hubert-base"), centroids, normalize=True).save_pretrained(folder / "tokenizer")
    rows = []
    for number in range(13):
        samples = 8000 + 800 * number
        save_audio(folder / f"{number}.wav", 0.1 * torch.randn(samples, generator=generator))
        split = "test" if number >= 10 else "valid" if number >= 7 else "train"
        rows.append({"path": f"{number}.wav", "speaker": f"s{number % 2}", "text": TEXTS[number % 4], "split": split})
    (folder / "broken.wav").write_bytes(b"no audio")
    rows += [rows[0] | {"path": "broken.wav"}, rows[0] | {"path": "gone.wav"}]
    write_csv(folder / "clips.csv", rows)
    (folder / "noise").mkdir()
    save_audio(folder / "noise" / "hum.wav", 0.1 * torch.randn(5000, generator=generator))
    return folder


def run_task(objective: Any, config: Any) -> None:
    """As `semtok train` does."""
    train_task(objective, config, Tokenizer.from_pretrained(config.tokenizer))


def changed(config: Any, **changes: Any) -> Any:
    """A dataclass with other values in some fields; keys and values change those of a section."""
    return dataclasses.replace(
        config,
        **{
            name: changed(getattr(config, name), **value) if isinstance(value, dict) else value
            for name, value in changes.items()
        },
    )


def _common(room: Path, name: str) -> dict:
    return {
        "folder": str(room / "runs" / name),
        "tokenizer": str(room / "tokenizer"),
        "data": TaskData(sources=[str(room / "clips.csv")], validation_clips=2, repeated_texts=True),
        "network": FrontTraining(front=FrontConfig(dim=8, fusion="attention", attention_dim=4)),
        "batches": Batches(batch_seconds=2),
        "schedule": TaskSchedule(steps=4, learning_rate=1e-2, warmup_steps=1, save_every=2, log_every=1),
    }


def task_config(room: Path, task: str, name: str | None = None) -> TaskConfig:
    """Four steps on the clips of the room, in the folder `runs/NAME` there."""
    entries = _common(room, name or task)
    noise = Disturbances(noise=[str(room / "noise")], snr=(0, 15))
    if task == "asr":
        config = RecognizerTrainingConfig(**entries, recognizer=RecognizerConfig(lstm=LSTMConfig(8, 1)))
        return changed(config, batches={"time_masks": 1})
    if task == "classifier":
        entries["data"] = changed(
            entries["data"], augmentation=AugmentationConfig(speeds=(0.9,), noisy_copies=1, disturbances=noise)
        )
        return ClassifierTrainingConfig(**entries, classifier=ClassifierConfig(POOLING), label="speaker")
    if task == "speaker":
        config = VerifierTrainingConfig(**entries, verifier=VerifierConfig(POOLING))
        return changed(config, batches={"crop_seconds": 0.5}, network={"tables_from_centroids": True})
    if task == "enhance":
        entries["data"] = changed(entries["data"], augmentation=AugmentationConfig(noisy_copies=2, disturbances=noise))
        return EnhancerTrainingConfig(**entries, enhancer=EnhancerConfig(CONFORMER))
    return SynthesizerTrainingConfig(
        **entries,
        synthesizer=SynthesizerConfig(CONFORMER, CONFORMER),
        aligner=str(room / "runs" / "asr" / "model"),
        most_aligner_errors=2.0,
    )
