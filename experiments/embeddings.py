"""Embedding tables of the vocoder started from the centroids, or at random.

    python experiments/embeddings.py --train FOLDER --test FOLDER [--encoder CHECKPOINT]

Those from centroids are the scalable vocoders of `scalable.py`, which are not trained again.
"""

from __future__ import annotations

from pathlib import Path

from common import COMMON, Setting, parse_options, read_setting
from laboratory import Laboratory
from tables import mean_over_clips, new_results, write_results


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=Setting, quick=options.quick)
    laboratory = Laboratory(options, setting)
    codebooks = laboratory.codebooks(setting.codebook_size)
    points = [f"layer {layer}" for layer in setting.layers] + ["all"]
    results = new_results()
    for seed in setting.seeds:
        for start in ("centroids", "random"):
            runs = laboratory.run(codebooks, seed, from_centroids=start == "centroids")
            for point, scores in zip(points, runs, strict=True):
                results[start][point].append(mean_over_clips(scores))
    write_results(
        options.output, "embeddings", results, axis="decoded from", series="tables from", facts=laboratory.facts()
    )


if __name__ == "__main__":
    main()
