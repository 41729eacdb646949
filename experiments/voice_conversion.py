"""Whose voice is heard, and which words, when one recording's tokens are decoded with another speaker's voice.

    python experiments/voice_conversion.py --clips FOLDER [--checkpoint tiny] [--recognizer openai/whisper-base]

`--clips` has a manifest with the columns path and speaker. Speakers with two recordings and more are the targets: the
vocoder is told the voice of the first of them, and what it makes is compared with the others, which it never saw. Every
recording is converted to one target, the targets taken in turns; words are those that the recognizer hears, against
what it hears in the source (dWER).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from common import Scores, add_judge_options, prepare_judge
from tables import print_means
from torch import Tensor

from semtok import Tokenizer, Tokens, Vocoder, save_audio
from semtok.evaluation import metrics
from semtok.evaluation.speakers import RESEMBLYZER, SpeakerModel, load_speaker_model
from semtok.speech.reading import Speech
from semtok.support.progress import steps_with_progress

if TYPE_CHECKING:
    from semtok.evaluation.recognizers import Recognizer

Clips: TypeAlias = Sequence[tuple[str, str, metrics.Waveform]]
"""Path, speaker and waveform [samples] of each."""


@dataclass(frozen=True)
class Target:
    """A speaker: the voice that the vocoder is told, and embeddings [dim] of what judges it.

    Attributes:
        told: of the recording that `voice` is of.
        others: the mean over the speaker's other recordings, of unit length.
    """

    name: str
    voice: Tensor
    told: metrics.Voice
    others: metrics.Voice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of speech with a manifest")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--speaker-model", default=RESEMBLYZER, help="folder or hub id of an x-vector model")
    add_judge_options(parser)
    options = parser.parse_args()
    convert(options, prepare_judge(options))


def convert(options: argparse.Namespace, recognizer: Recognizer | None) -> None:
    """Measures the sources, what is decoded without and with the target's voice, and the targets themselves."""
    tokenizer, vocoder = Tokenizer.from_pretrained(options.checkpoint), Vocoder.from_pretrained(options.checkpoint)
    judge = load_speaker_model(options.speaker_model)
    clips = read_clips_of_speakers(options.clips, tokenizer.sample_rate)
    targets = find_targets(clips, vocoder, judge)
    sources = [clip for clip in clips if recognizer is None or recognizer.other_language(clip[2]) is None]

    scores: dict[str, Scores] = defaultdict(lambda: defaultdict(list))
    turns = cycle(targets)
    for step, _ in steps_with_progress(0, len(sources), "converting"):
        name, speaker, waveform = sources[step - 1]
        target = next(target for target in turns if target.name != speaker)
        outputs = {"source": waveform} | decoded(tokenizer.encode(waveform), vocoder, target.voice)
        compare(outputs, target, judge, recognizer, scores)
        if options.output:
            last = list(outputs.values())[-1]
            save_audio(options.output / f"{Path(name).stem}-{target.name}.wav", last, sample_rate=vocoder.sample_rate)
    scores["the recording whose voice was told"]["similarity to the target"] = [
        metrics.speaker_similarity(target.others, target.told) for target in targets
    ]
    left_out = len(clips) - len(sources)
    print(f"{len(sources)} recordings of {options.clips}, {left_out} left out as of another language; ", end="")
    print(f"{len(targets)} targets; {options.checkpoint}, tokenizer {tokenizer.fingerprint}; ", end="")
    print(f"{judge.name}{f'; {recognizer.name}' if recognizer else ''}\n")
    print_means(scores, "dWER")


def decoded(tokens: Tokens, vocoder: Vocoder, voice: Tensor) -> dict[str, metrics.Waveform]:
    """From all layers down to the uppermost alone with the voice, and from the uppermost without."""
    outputs = {}
    for first in range(len(tokens.layers)):
        layers = tokens.layers[first:]
        outputs[f"{_listed(layers)}, the target's voice"] = vocoder.decode(tokens, layers=layers, speaker=voice)[0]
    outputs = {f"{_listed(layers)}, no voice": vocoder.decode(tokens, layers=layers)[0]} | outputs
    return {name: output.numpy() for name, output in outputs.items()}


def _listed(layers: Sequence[int]) -> str:
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"


def compare(
    outputs: dict[str, metrics.Waveform],
    target: Target,
    judge: SpeakerModel,
    recognizer: Recognizer | None,
    scores: dict[str, Scores],
) -> None:
    """Adds what is heard in each output; the first is the source."""
    voices = [judge.embed(output) for output in outputs.values()]
    for name, output, voice in zip(outputs, outputs.values(), voices, strict=True):
        scores[name]["similarity to the target"].append(metrics.speaker_similarity(target.others, voice))
        scores[name]["to the source"].append(metrics.speaker_similarity(voices[0], voice))
        scores[name]["DNSMOS"].append(metrics.dnsmos(output))
    if recognizer is not None:
        heard = [recognizer.words(text) for text in recognizer.transcribe(list(outputs.values()))]
        for name, words in zip(outputs, heard, strict=True):
            errors, count = metrics.word_errors(heard[0], words)
            scores[name]["errors"].append(errors)
            scores[name]["words"].append(count)


def read_clips_of_speakers(folder: Path, sample_rate: int) -> Clips:
    """The recordings of a manifest whose speaker it tells."""
    speech = Speech([folder])
    numbers = [number for number, clip in enumerate(speech.clips) if clip.label("speaker")]
    clips = []
    for clip, waveform in speech.read(sample_rate, numbers):
        if isinstance(waveform, Exception):
            raise waveform
        clips.append((clip.path, clip.label("speaker"), waveform.numpy()))
    return clips


def find_targets(clips: Clips, vocoder: Vocoder, judge: SpeakerModel) -> list[Target]:
    """Speakers with two recordings and more."""
    by_speaker: dict[str, list[metrics.Waveform]] = defaultdict(list)
    for _, speaker, waveform in clips:
        by_speaker[speaker].append(waveform)
    targets = []
    for name, (told, *others) in by_speaker.items():
        if others:
            mean = np.mean([judge.embed(waveform) for waveform in others], axis=0)
            targets.append(Target(name, vocoder.speaker(told)[0], judge.embed(told), mean / np.linalg.norm(mean)))
    if len(targets) < 2:
        raise SystemExit("fewer than two speakers with two recordings and more: there is nobody to convert between")
    return targets


if __name__ == "__main__":
    main()
