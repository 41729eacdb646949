"""A checkpoint decoded from each layer alone, from greedily chosen subsets and from all: quality against bitrate.

    python experiments/layers.py --test FOLDER [--checkpoint tiny]

Each further layer is the one with which the criterion is best, by the very clips that are then measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import Scores, kept, measure, read_setting
from tables import mean_over_clips, new_results, write_results

from semtok import Tokenizer, Vocoder, load_audio
from semtok.codebooks.fingerprint import weights_identity
from semtok.support.progress import steps_with_progress
from semtok.training.data.sources import find_clips


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`layers.yaml`, where the entries are explained."""

    clip_seconds: float
    criterion: str
    largest: int


class Subsets:
    """Scores of what a checkpoint makes of subsets of its layers; those found are kept in a file each."""

    def __init__(self, options: argparse.Namespace, clip_seconds: float) -> None:
        tokenizer = Tokenizer.from_pretrained(options.checkpoint)
        self.vocoder = Vocoder.from_pretrained(options.checkpoint)
        self.layers, self.output, self.clips = tokenizer.layers, options.output / "layers", []
        files = [file for file in find_clips([options.test]) if isinstance(file, Path)]
        for step, _ in steps_with_progress(0, len(files), "encoding"):
            waveform = load_audio(files[step - 1], sample_rate=tokenizer.sample_rate)
            waveform = waveform[: round(clip_seconds * tokenizer.sample_rate)]
            self.clips.append((waveform.numpy(), tokenizer.encode(waveform)))
        self.wanted = {
            "tokenizer": tokenizer.fingerprint,
            "vocoder": weights_identity(self.vocoder.network),
            "clips": [str(file) for file in files],
            "clip_seconds": clip_seconds,
        }

    def scores(self, layers: Sequence[int]) -> dict[str, float]:
        layers = sorted(layers)
        path = self.output / f"{'-'.join(map(str, layers))}.json"
        found: Scores = kept(path, self.wanted, lambda: measure(self.vocoder, self.clips, layers))
        tokens = self.clips[0][1].select(layers)
        bits = tokens.codebooks.bits
        return {"kbit_s": bits * tokens.frame_rate / 1000} | mean_over_clips(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", type=Path, required=True, help="folder of speech to measure on")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--output", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--quick", action="store_true", help="a second of each clip, to see that it runs")
    options = parser.parse_args()
    choice = read_setting(Path(__file__).with_suffix(".yaml"), kind=Choice, quick=options.quick)
    subsets = Subsets(options, choice.clip_seconds)

    results = new_results()
    for layer in subsets.layers:
        results["each alone"][str(layer)].append(subsets.scores([layer]))
    chosen: list[int] = []
    while len(chosen) < min(choice.largest, len(subsets.layers)):
        candidates = [layer for layer in subsets.layers if layer not in chosen]
        chosen.append(max(candidates, key=lambda layer: subsets.scores([*chosen, layer])[choice.criterion]))
        results["greedy choice"][", ".join(map(str, sorted(chosen)))].append(subsets.scores(chosen))
    results["all"][", ".join(map(str, subsets.layers))].append(subsets.scores(subsets.layers))
    facts = (
        f"{options.checkpoint}, tokenizer {subsets.wanted['tokenizer']}; {len(subsets.clips)} clips of "
        f"{choice.clip_seconds:g} s at most; chosen by {choice.criterion}"
    )
    write_results(options.output, "layers", results, axis="layers", series="subset", facts=facts, against="kbit_s")


if __name__ == "__main__":
    main()
