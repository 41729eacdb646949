"""How many tokens change in half precision, or compiled, against float32: for each layer and stage, on real speech.

python benchmarks/precision.py --audio FOLDER    # all audio files below; by default the clip in examples/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from report import print_versions

from semtok import Tokenizer, load_audio
from semtok.speech.reading import Speech

EXAMPLES = Path(__file__).parents[1] / "examples" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, default=EXAMPLES, help="folder of speech")
    parser.add_argument("--clips", type=int, default=200, help="use so many of them at most, evenly spread")
    parser.add_argument("--tokenizer", default="tiny", help="bundled name, folder or hub id")
    parser.add_argument("--compiled", action="store_true", help="also with torch.compile, which takes a minute")
    options = parser.parse_args()
    paths = [clip.path for clip in Speech([options.audio]).clips]
    if not paths:
        raise SystemExit(f"{options.audio} has no audio files below it")
    print_versions(torch.get_num_threads())
    variants = {dtype: Tokenizer.from_pretrained(options.tokenizer, dtype=dtype) for dtype in ("bfloat16", "float16")}
    if options.compiled:
        variants["compiled"] = Tokenizer.from_pretrained(options.tokenizer, compile=True)
    print_agreement(Tokenizer.from_pretrained(options.tokenizer), variants, paths[:: -(-len(paths) // options.clips)])


def print_agreement(exact: Tokenizer, variants: dict[str, Tokenizer], paths: list[Path]) -> None:
    """The table: for each layer, stage and variant, the share of frames whose token is that of float32."""
    rows = [
        (layer, stage + 1) for layer, stages in zip(exact.layers, exact.stages, strict=True) for stage in range(stages)
    ]
    equal = {name: torch.zeros(len(rows), dtype=torch.int64) for name in variants}
    frames = 0
    for path in paths:
        waveform = load_audio(path)
        wanted = exact.encode(waveform)
        frames += int(wanted.lengths[0])
        for name, tokenizer in variants.items():
            equal[name] += (wanted.codes == tokenizer.encode(waveform).codes)[0].sum(dim=1)
    print(f"Share of {frames} frames of {len(paths)} clips with the token of float32.")
    print(f"\n| layer | stage | {' | '.join(variants)} |\n|---|---|{'---:|' * len(variants)}")
    for row, (layer, stage) in enumerate(rows):
        shares = (f"{100 * int(equal[name][row]) / frames:.2f} %" for name in variants)
        print(f"| {layer} | {stage} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
