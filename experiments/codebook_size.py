"""Codebooks of several sizes K, each with scalable vocoders of its own.

python experiments/codebook_size.py --train FOLDER --test FOLDER [--encoder CHECKPOINT]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from common import COMMON, Setting, parse_options, read_setting
from laboratory import Laboratory
from tables import mean_over_clips, new_results, write_results


@dataclass(frozen=True, kw_only=True)
class CodebookSizes(Setting):
    codebook_sizes: tuple[int, ...]


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=CodebookSizes, quick=options.quick)
    laboratory = Laboratory(options, setting)
    subsets = [*((layer,) for layer in setting.layers), setting.layers]
    labels = [f"layer {layer}" for layer in setting.layers] + ["all layers"]
    results = new_results()
    for size in setting.codebook_sizes:
        codebooks = laboratory.codebooks(size)
        for seed in setting.seeds:
            for label, subset, scores in zip(labels, subsets, laboratory.run(codebooks, seed), strict=True):
                found = {"kbit_s": len(subset) * math.log2(size) * laboratory.frame_rate / 1000}
                found["features"] = laboratory.explained(codebooks, subset)
                results[label][str(size)].append(found | mean_over_clips(scores))
    write_results(options.output, "codebook_size", results, axis="K", series="decoded from", facts=laboratory.facts())


if __name__ == "__main__":
    main()
