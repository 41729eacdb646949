"""Trains a vocoder, then asserts that all processes hold the same weights. Arguments: config and changes to it."""

from __future__ import annotations

import sys
from typing import Any

import torch

from semtok.training import vocoder
from semtok.training.config import load_config
from semtok.training.vocoder_config import VocoderTrainingConfig


def train_and_compare(run: Any, trainer: Any, config: Any, train: Any = vocoder.train, **names: str) -> None:
    train(run, trainer, config, **names)
    assert run.accelerator.num_processes == 2
    for module in (trainer.network, trainer.discriminators):
        for parameter in module.parameters():
            first, second = run.accelerator.gather(parameter.detach()[None])
            assert torch.equal(first, second)


if __name__ == "__main__":
    vocoder.train = train_and_compare
    vocoder.train_vocoder(load_config(sys.argv[1], VocoderTrainingConfig, sys.argv[2:]))
