"""One scalable vocoder, against one vocoder a layer and one trained on all layers without layer dropout.

    python experiments/scalable.py --train FOLDER --test FOLDER [--encoder CHECKPOINT]

All vocoders have the same size, the same tokens and the same number of steps; as those of single layers are several,
one more scalable vocoder has as many steps as all of them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common import COMMON, Setting, parse_options, read_setting
from laboratory import Laboratory, WithoutDropout
from tables import mean_over_clips, write_results


@dataclass(frozen=True, kw_only=True)
class LongSetting(Setting):
    """A scalable vocoder is trained for longer too."""

    long_steps: int


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=LongSetting, quick=options.quick)
    laboratory = Laboratory(options, setting)
    results = laboratory.compare(
        {
            "one scalable": {},
            "all layers, no dropout": {"trainer": WithoutDropout},
            f"one scalable, {setting.long_steps} steps": {"steps": setting.long_steps},
        }
    )
    codebooks = laboratory.codebooks(setting.codebook_size)
    for seed in setting.seeds:
        for layer in setting.layers:
            scores = laboratory.run(codebooks, seed, layers=[layer])[0]
            results["one a layer"][f"layer {layer}"].append(mean_over_clips(scores))
    write_results(options.output, "scalable", results, axis="decoded from", series="vocoder", facts=laboratory.facts())


if __name__ == "__main__":
    main()
