"""A vocoder with more room: wider, deeper, with longer embeddings, for as many steps and for as much time.

    python experiments/room.py --train FOLDER --test FOLDER [--encoder CHECKPOINT]

The smaller one is the longer one of `scalable.py`, which is not trained again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import COMMON, Setting, parse_options, read_setting
from laboratory import Laboratory
from tables import write_results


@dataclass(frozen=True, kw_only=True)
class RoomSetting(Setting):
    """`room.yaml`, where the entries are explained."""

    steps: int
    larger: dict[str, Any]
    steps_in_equal_time: int


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=RoomSetting, quick=options.quick)
    laboratory = Laboratory(options, setting)
    larger = {"entries": setting.larger}
    results = laboratory.compare(
        {
            "as common": {"steps": setting.steps},
            "larger, as many steps": larger | {"steps": setting.steps},
            "larger, as much time": larger | {"steps": setting.steps_in_equal_time},
        }
    )
    facts = f"Vocoders of {setting.steps} and {setting.steps_in_equal_time} steps. {laboratory.facts()}"
    write_results(options.output, "room", results, axis="decoded from", series="vocoder", facts=facts)


if __name__ == "__main__":
    main()
