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
from tables import write_results


@dataclass(frozen=True, kw_only=True)
class SpeakerSetting(Setting):
    """Vocoders of so many steps; `speaker` is as in a vocoder's training config."""

    steps: int
    speaker: dict[str, Any]


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=SpeakerSetting, quick=options.quick)
    laboratory = Laboratory(options, setting)
    alone = {"steps": setting.steps}
    told = alone | {"entries": {"speaker": setting.speaker}}
    results = laboratory.compare({"tokens alone": alone, "tokens and speaker": told})
    facts = f"Vocoders of {setting.steps} steps. {laboratory.facts()}"
    write_results(options.output, "speaker", results, axis="decoded from", series="vocoder given", facts=facts)


if __name__ == "__main__":
    main()
