"""How fast speech becomes text: a recogniser on tokens, beside the encoder alone.

python benchmarks/recognize.py --model runs/tiny/asr/best
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import torch
from report import median_seconds, print_table, print_versions

from semtok import load_audio
from semtok.downstream import SpeechRecognizer

SPEECH = Path(__file__).parent.parent / "examples" / "data" / "speech.flac"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME", help="folder or hub id of a recogniser")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs, of which the median counts")
    parser.add_argument("--quick", action="store_true", help="one second, one run: tries the script")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.repeats = 1.0, 1

    recognizer = SpeechRecognizer.from_pretrained(options.model)
    speech = load_audio(SPEECH)
    samples = int(options.seconds * recognizer.tokenizer.sample_rate)
    clip = speech.repeat(-(-samples // len(speech)))[:samples]
    tokens = recognizer.tokenizer.encode(clip)
    runs = {
        "tokens alone": lambda: recognizer.tokenizer.encode(clip),
        "text of tokens that are there": lambda: recognizer.transcribe(tokens),
        "text of speech": lambda: recognizer.transcribe(clip),
        "text of speech, beam of 8": lambda: recognizer.transcribe(clip, beam=8),
    }
    seconds = median_seconds(runs, options.repeats)
    print_versions(torch.get_num_threads())
    print(f"{datetime.date.today()}; {options.seconds:g} s of audio, batch 1, median of {options.repeats}.")
    print_table(Path(options.model).name, seconds, options.seconds, "tokens alone")


if __name__ == "__main__":
    main()
