"""A scalable vocoder that is told whose voice it is, against one that has the tokens alone.

    python experiments/speaker.py --train FOLDER --test FOLDER [--encoder CHECKPOINT]

A speaker encoder learns along with the vocoder; what it makes of a test clip is one embedding for the whole of it.
Vocoders without are the longer ones of `scalable.py`, which are not trained again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import COMMON, Setting, parse_options, read_setting
from laboratory import Laboratory
from tables import mean_over_clips, new_results, write_results


@dataclass(frozen=True, kw_only=True)
class SpeakerSetting(Setting):
    """Vocoders of so many steps; `speaker` is as in a vocoder's training config."""

    steps: int
    speaker: dict[str, Any]


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=SpeakerSetting, quick=options.quick)
    laboratory = Laboratory(options, setting)
    codebooks = laboratory.codebooks(setting.codebook_size)
    points = [f"layer {layer}" for layer in setting.layers] + ["all"]
    results = new_results()
    for seed in setting.seeds:
        for label, speaker in (("tokens alone", None), ("tokens and speaker", setting.speaker)):
            runs = laboratory.run(codebooks, seed, steps=setting.steps, speaker=speaker)
            for point, scores in zip(points, runs, strict=True):
                results[label][point].append(mean_over_clips(scores))
    facts = f"Vocoders of {setting.steps} steps. {laboratory.facts()}"
    write_results(options.output, "speaker", results, axis="decoded from", series="vocoder given", facts=facts)


if __name__ == "__main__":
    main()
