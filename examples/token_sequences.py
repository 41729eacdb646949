"""Tokens as one sequence of ids for a language model: layers interleaved, or one layer without repetitions.

python examples/token_sequences.py [AUDIO]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from semtok import Tokenizer
from semtok.language import UnitVocabulary, deduplicate

RECORDING = Path(__file__).parent / "data" / "speech.flac"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", nargs="?", type=Path, default=RECORDING)
    tokenizer = Tokenizer.from_pretrained("tiny")
    low, high = min(tokenizer.layers), max(tokenizer.layers)
    tokens = tokenizer.encode(parser.parse_args().audio, layers=[high, low])

    # Each row of the codes, a layer or one of its residual stages, gets a range of ids to itself, since code 5 of one
    # and code 5 of another share nothing. A model reads all rows of a frame, then the next frame.
    vocabulary = UnitVocabulary.of(tokens)
    (ids,) = vocabulary.to_ids(tokens)
    print(f"rows {', '.join(tokens.names)}: {len(ids)} ids of {len(vocabulary)}: {ids[:6].tolist()} ...")
    print(f"    which are {' '.join(vocabulary.names[i] for i in ids[:6])} ...")
    assert vocabulary.from_ids([ids]).codes.equal(tokens.codes)

    # Runs of one code say how long a sound lasts. Keep the durations, and speech can be made again at its own pace.
    short, durations = deduplicate(tokens.select([high]))
    print(f"layer {high} without repetitions: {short.codes.shape[2]} tokens: {short.codes[0, 0, :8].tolist()} ...")
    print(f"    each lasting so many frames: {durations[0, :8].tolist()} ...")


if __name__ == "__main__":
    main()
