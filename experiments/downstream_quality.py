"""How well enhanced and synthetic speech is understood and how good it sounds.

    python experiments/downstream_quality.py enhance --model runs/tiny/enhance/best --pairs data/enhancement/pairs.csv
    python experiments/downstream_quality.py tts --model runs/tiny/tts/best --texts data/heldout/manifest.csv

Words are those that `--recognizer` hears: of enhanced speech against what it hears in the clean recording (dWER), of
synthetic speech against the text. Without one they are left out. `pairs` has the columns noisy and clean, paths beside
it; `texts` a column text.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import Scores, add_judge_options, prepare_judge
from tables import print_means

from semtok import load_audio, save_audio
from semtok.downstream import SpeechEnhancer, TextToSpeech
from semtok.downstream.text import edit_distance, normalize
from semtok.errors import TextError
from semtok.evaluation import metrics

if TYPE_CHECKING:
    from semtok.evaluation.recognizers import Recognizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("enhance", "tts"):
        command = commands.add_parser(name)
        command.add_argument("--model", required=True, help="bundled name, folder or hub id")
        add_judge_options(command)
        command.add_argument("--limit", type=int, default=60, help="clips or texts at most")
    commands.choices["enhance"].add_argument("--pairs", type=Path, required=True)
    commands.choices["tts"].add_argument("--texts", type=Path, required=True)
    commands.choices["tts"].add_argument("--speakers", nargs="+", help="the first three of the model by default")
    commands.choices["tts"].add_argument("--layers", nargs="+", type=int, help="decode these of the layers made")
    options = parser.parse_args()
    (measure_enhancer if options.command == "enhance" else measure_speech)(options, prepare_judge(options))


def measure_enhancer(options: argparse.Namespace, recognizer: Recognizer | None) -> None:
    """Enhanced speech between its bounds: the noisy input, and the clean recording's own tokens decoded."""
    model = SpeechEnhancer.from_pretrained(options.model)
    scores: dict[str, Scores] = defaultdict(lambda: defaultdict(list))
    with options.pairs.open(newline="") as file:
        pairs = list(csv.DictReader(file))[: options.limit]
    for pair in pairs:
        noisy, clean = (load_audio(options.pairs.parent / pair[name]).numpy() for name in ("noisy", "clean"))
        enhanced = model.enhance(noisy)[0].numpy()
        versions = {
            "noisy": noisy,
            "noisy tokens decoded": model.vocoder.decode(model.tokenizer.encode(noisy))[0].numpy(),
            "enhanced": enhanced,
            "clean tokens decoded": model.vocoder.decode(model.tokenizer.encode(clean))[0].numpy(),
            "clean": clean,
        }
        transcripts = (
            {}
            if recognizer is None
            else dict(zip(versions, recognizer.transcribe(list(versions.values())), strict=True))
        )
        for name, waveform in versions.items():
            length = min(len(waveform), len(clean))
            scores[name]["DNSMOS"].append(metrics.dnsmos(waveform))
            scores[name]["STOI"].append(metrics.stoi(clean[:length], waveform[:length]))
            if recognizer is not None:
                expected = recognizer.words(transcripts["clean"])
                scores[name]["errors"].append(edit_distance(expected, recognizer.words(transcripts[name])))
                scores[name]["words"].append(len(expected))
        if options.output:
            save_audio(options.output / f"{Path(pair['noisy']).stem}.wav", enhanced)
    print(f"{len(pairs)} pairs of {options.pairs}\n")
    print_means(scores, "dWER")


def measure_speech(options: argparse.Namespace, recognizer: Recognizer | None) -> None:
    """Prints what is understood of texts in several voices, and how it sounds."""
    model = TextToSpeech.from_pretrained(options.model)
    speakers = options.speakers or model.speakers[:3]
    with options.texts.open(newline="") as file:
        texts = [text for row in csv.DictReader(file) if normalize(text := row.get("text") or "", upper=True)]
    texts = texts[: options.limit]
    scores, left_out = score_speech(model, texts, speakers, recognizer, options.layers, options.output)
    print(f"{len(texts)} texts of {options.texts}, {left_out} of them could not be said\n")
    print_means(scores, "WER")


def score_speech(
    model: TextToSpeech,
    texts: Sequence[str],
    speakers: Sequence[str],
    recognizer: Recognizer | None,
    layers: Sequence[int] | None = None,
    output: Path | None = None,
) -> tuple[dict[str, Scores], int]:
    """Texts in several voices; those with characters that the model cannot say are left out and counted."""
    scores: dict[str, Scores] = defaultdict(lambda: defaultdict(list))
    left_out = 0
    for number, text in enumerate(texts):
        for speaker in speakers:
            try:
                tokens = model.speak_tokens(text, speaker=speaker)
            except TextError:
                left_out += 1
                continue
            waveform = model.vocoder.decode(tokens, layers=layers)[0].numpy()
            scores[speaker]["DNSMOS"].append(metrics.dnsmos(waveform))
            if recognizer is not None:
                expected = recognizer.words(text)
                scores[speaker]["errors"].append(
                    edit_distance(expected, recognizer.words(recognizer.transcribe([waveform])[0]))
                )
                scores[speaker]["words"].append(len(expected))
            if output:
                save_audio(output / f"{number}-{speaker}.wav", waveform)
    return scores, left_out


if __name__ == "__main__":
    main()
