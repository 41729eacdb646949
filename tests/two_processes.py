"""Trains a vocoder; each process saves the weights that it ends with beside it. Arguments: config and changes to it."""

from __future__ import annotations

import sys
from typing import Any

import torch

from semtok.training.config import load_config
from semtok.training.vocoder import trainer as vocoder
from semtok.training.vocoder.config import VocoderTrainingConfig


def train_and_save(run: Any, trainer: Any, config: Any, train: Any = vocoder.train, **names: Any) -> None:
    train(run, trainer, config, **names)
    process, processes = run.accelerator.process_index, run.accelerator.num_processes
    modules = trainer.network, trainer.adversary.discriminators
    torch.save([module.state_dict() for module in modules], run.folder / f"process-{process}-of-{processes}.pt")


if __name__ == "__main__":
    vocoder.train = train_and_save
    vocoder.train_vocoder(load_config(sys.argv[1], VocoderTrainingConfig, sys.argv[2:]))
