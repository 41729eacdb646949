"""`python -m semtok.training STEP CONFIG`: the same as `semtok train`, for launchers that start modules.

Several GPUs or machines: `accelerate launch -m semtok.training vocoder config.yaml`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from semtok.errors import SemtokError, needs_extra

TASKS = ("asr", "classifier", "speaker", "enhance", "tts")
STEPS = ("encoder", "kmeans", "vocoder", "language", *TASKS)


def train(step: str, config: str, changes: Sequence[str] = ()) -> None:
    """Runs one step of training with its YAML config; a run that was stopped goes on from its last saved state.

    `changes` are "key=value" or "section.key=value".

    Raises:
        SemtokError: the extra `train` is not installed, the config is wrong, or there is no audio.
    """
    from semtok.training.config import load_config
    from semtok.training.encoder.config import EncoderConfig
    from semtok.training.kmeans.config import KMeansConfig
    from semtok.training.vocoder.config import VocoderTrainingConfig

    with needs_extra("train"):
        if step == "encoder":
            from semtok.training.encoder.trainer import train_encoder

            train_encoder(load_config(config, EncoderConfig, changes))
        elif step == "kmeans":
            from semtok.training.kmeans.trainer import train_kmeans

            train_kmeans(load_config(config, KMeansConfig, changes))
        elif step == "language":
            from semtok.training.language.config import LanguageConfig
            from semtok.training.language.trainer import train_language

            train_language(load_config(config, LanguageConfig, changes))
        elif step in TASKS:
            from semtok.training.downstream import OBJECTIVES
            from semtok.training.downstream.trainer import train_task

            objective, kind = OBJECTIVES[step]
            train_task(objective, load_config(config, kind, changes))
        else:
            from semtok.training.vocoder.trainer import train_vocoder

            train_vocoder(load_config(config, VocoderTrainingConfig, changes))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m semtok.training", description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("config", help="YAML file of the step")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change an entry; repeatable")
    options = parser.parse_args(arguments)
    try:
        train(options.step, options.config, options.set)
    except SemtokError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
