"""Tokens as one sequence of numbers for a language model: layers interleaved, or one layer without repetitions.

python examples/token_sequences.py [AUDIO]
"""

from __future__ import annotations

import argparse
from itertools import accumulate
from pathlib import Path

from semtok import Tokenizer

RECORDING = Path(__file__).parent / "data" / "speech.flac"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", nargs="?", type=Path, default=RECORDING)
    tokens = Tokenizer.from_pretrained("tiny").encode(parser.parse_args().audio)

    # Each row of the codes, a layer or one of its residual stages, gets a range of the vocabulary to itself, since
    # code 5 of one and code 5 of another share nothing.
    low_and_high = tokens.select([1, 7])
    offsets = [0, *accumulate(low_and_high.codebook_sizes)]
    vocabulary_size = offsets.pop()
    for utterance in low_and_high:  # cut to its length, so without the -1 of padding
        codes = utterance.codes[0]  # [rows, frames]
        sequence = (codes.T + codes.new_tensor(offsets)).flatten()  # frame by frame: [frames x rows]
        print(
            f"rows {', '.join(utterance.names)}: {len(sequence)} tokens of {vocabulary_size}: {sequence[:6].tolist()}"
        )

    # Runs of one code say how long a sound lasts. Keep the counts, and speech can be made again at its own pace.
    for utterance in tokens.select([7]):
        codes, counts = utterance.codes[0, 0].unique_consecutive(return_counts=True)
        print(f"layer 7 without repetitions: {len(codes)} tokens: {codes[:8].tolist()} ...")
        print(f"    each lasting so many frames: {counts[:8].tolist()} ...")


if __name__ == "__main__":
    main()
