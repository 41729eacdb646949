"""How a recogniser searches for texts: weight and bonus of its language model, chosen and measured on other clips.

    python experiments/decoding.py --model runs/tiny/asr/best --clips data/core/libri data/core/so762_adult --save

Error rates of the likeliest path, of a beam search, and of one with the language model that the model was saved with or
`--language-model`. Weight and bonus are those with the fewest wrong characters on the split valid; all rates are of the
split test. `--save` writes beam, weight and bonus into the model's config, which `transcribe` follows.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from semtok.checkpoints.config import CONFIG, config_entries
from semtok.downstream import SpeechRecognizer
from semtok.downstream.arpa import BackoffModel
from semtok.downstream.ctc import beam_search, best_path
from semtok.downstream.decoding import DecodingConfig, TextScorer
from semtok.downstream.text import edit_distance
from semtok.errors import AudioError
from semtok.speech.reading import Speech
from semtok.support.atomic import atomic_write

WEIGHTS, BONUSES = (0.2, 0.4, 0.6, 0.8, 1.0), (0.0, 0.5, 1.0, 1.5)

Heard: TypeAlias = list[tuple[str, Tensor]]
"""The text of each clip, and the log-probabilities of its labels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="bundled name, folder or hub id; a folder with --save")
    parser.add_argument("--clips", nargs="+", required=True, help="manifests, or folders with one")
    parser.add_argument("--language-model", type=Path, help="ARPA file; by default the model's own")
    parser.add_argument("--beam", type=int, default=8)
    parser.add_argument("--limit", type=int, default=100, help="clips of each split at most")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    model = SpeechRecognizer.from_pretrained(options.model)
    if options.language_model:
        model.language_model = BackoffModel.load(options.language_model)
    valid, test = (listen(model, options.clips, split, options.limit) for split in ("valid", "test"))
    print(f"{len(valid)} clips to choose by, {len(test)} to measure\n\n| search | CER, % | WER, % |\n|---|---:|---:|")
    print_rates(model, "likeliest path", test, None)
    print_rates(model, f"beam of {options.beam}", test, DecodingConfig(options.beam, 0.0))
    if model.language_model is not None:
        choices = [DecodingConfig(options.beam, *pair) for pair in itertools.product(WEIGHTS, BONUSES)]
        best = min(choices, key=lambda choice: error_rates(model, valid, choice))
        print_rates(model, f"with the language model, weight {best.weight}, bonus {best.bonus}", test, best)
        if options.save:
            path = Path(options.model) / CONFIG
            entries = json.loads(path.read_text())
            entries["head"]["decoding"] = config_entries(best)
            with atomic_write(path) as aside:
                aside.write_text(json.dumps(entries, indent=2) + "\n")


def listen(model: SpeechRecognizer, clips: list[str], split: str, limit: int) -> Heard:
    """Clips of a split, evenly spread, that have a text."""
    speech = Speech(clips)
    numbers = [
        number for number, clip in enumerate(speech.clips) if clip.label("split") == split and clip.label("text")
    ]
    heard = []
    for clip, waveform in speech.read(model.sample_rate, numbers[:: max(1, len(numbers) // limit)][:limit]):
        if isinstance(waveform, AudioError):
            raise waveform
        heard.append((model.codec.normalize(clip.label("text")), model.log_probabilities(waveform)[0].cpu()))
    return heard


def error_rates(model: SpeechRecognizer, clips: Heard, decoding: DecodingConfig | None) -> tuple[float, float]:
    """Of characters and of words, over all clips."""
    scorer = None
    if decoding is not None and decoding.weight and model.language_model is not None:
        scorer = TextScorer(model.language_model, model.codec.pieces, decoding)

    def search(output: Tensor) -> list[int]:
        return best_path(output) if decoding is None else beam_search(output, decoding.beam, scorer)

    texts = [(text, model.codec.decode(search(output))) for text, output in clips]
    characters = sum(edit_distance(text, written) for text, written in texts)
    words = sum(edit_distance(text.split(), written.split()) for text, written in texts)
    return characters / sum(len(text) for text, _ in texts), words / sum(len(text.split()) for text, _ in texts)


def print_rates(model: SpeechRecognizer, name: str, clips: Heard, decoding: DecodingConfig | None) -> None:
    characters, words = error_rates(model, clips, decoding)
    print(f"| {name} | {100 * characters:.1f} | {100 * words:.1f} |", flush=True)


if __name__ == "__main__":
    main()
