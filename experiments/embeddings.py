"""Embedding tables of the vocoder started from the centroids, or at random.

    python experiments/embeddings.py --train FOLDER --test FOLDER [--encoder CHECKPOINT]

Those from centroids are the scalable vocoders of `scalable.py`, which are not trained again.
"""

from __future__ import annotations

from pathlib import Path

from common import COMMON, Setting, parse_options, read_setting
from laboratory import Laboratory
from tables import write_results


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=Setting, quick=options.quick)
    laboratory = Laboratory(options, setting)
    results = laboratory.compare({"centroids": {}, "random": {"from_centroids": False}})
    write_results(
        options.output, "embeddings", results, axis="decoded from", series="tables from", facts=laboratory.facts()
    )


if __name__ == "__main__":
    main()
