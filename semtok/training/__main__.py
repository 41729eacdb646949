"""`python -m semtok.training STEP CONFIG`: the same as `semtok train`, for launchers that start modules.

Several GPUs or machines: `accelerate launch -m semtok.training vocoder config.yaml`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from semtok.errors import SemtokError
from semtok.training.steps import STEPS, train


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
