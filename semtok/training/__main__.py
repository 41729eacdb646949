"""`python -m semtok.training STEP --config FILE`: the same as `semtok train`, for launchers that start modules."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

STEPS = ("encoder", "kmeans", "vocoder")


def train(step: str, config: str) -> None:
    """Runs one step of training with its YAML config; a run that was stopped goes on from its last saved state."""
    from semtok.training.config import EncoderConfig, KMeansConfig, VocoderTrainingConfig, load_config

    if step == "encoder":
        from semtok.training.encoder import train_encoder

        train_encoder(load_config(config, EncoderConfig))
    elif step == "kmeans":
        from semtok.training.centroids import train_kmeans

        train_kmeans(load_config(config, KMeansConfig))
    else:
        from semtok.training.vocoder import train_vocoder

        train_vocoder(load_config(config, VocoderTrainingConfig))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m semtok.training", description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--config", required=True, help="YAML file of the step")
    options = parser.parse_args(arguments)
    train(options.step, options.config)


if __name__ == "__main__":
    main()
