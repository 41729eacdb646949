"""Random clips with manifests, and a tokenizer of random weights, for the training of tasks."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import torch
from encoders import tiny_model

from semtok import Tokenizer, save_audio
from semtok.training.downstream.trainer import train_task

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
    write_manifest(folder / "clips.csv", rows)
    (folder / "noise").mkdir()
    save_audio(folder / "noise" / "hum.wav", 0.1 * torch.randn(5000, generator=generator))
    return folder


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


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
