"""Texts for clips that have none, by a pretrained recognizer: a manifest that tasks can learn from.

    python experiments/pseudo_labels.py data/core/libri/manifest.csv --output runs/pseudo/libri.csv \\
        --recognizer openai/whisper-base
    semtok train asr configs/tiny/asr.yaml --set data.sources='[data/core/libri/manifest.csv, runs/pseudo/libri.csv]'

Numbers and signs are written as words. The column `text_source` names the recognizer. A text that is empty, repeats
itself or is longer than anybody speaks is left empty, so that training leaves the clip out. A run that was stopped goes
on; clips of the splits test and valid are left as they are.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from semtok.downstream.spoken import spoken_form
from semtok.evaluation.metrics import SAMPLE_RATE
from semtok.evaluation.recognizers import load_recognizer
from semtok.speech.clip import Clip
from semtok.speech.reading import Speech
from semtok.support.atomic import atomic_write

if TYPE_CHECKING:
    from semtok.evaluation.recognizers import Recognizer

_COLUMNS = ("path", "start", "duration", "speaker", "split", "text", "text_source")
_BATCH = 16
# Whisper's own bound on how well a text may be packed: one that loops packs better.
_MOST_COMPRESSION = 2.4
_MOST_CHARACTERS_A_SECOND = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", help="folders or manifests of speech")
    parser.add_argument("--output", type=Path, required=True, help="the manifest, a .csv")
    parser.add_argument("--recognizer", default="openai/whisper-base", help="Whisper or CTC: folder or hub id")
    parser.add_argument("--recognizer-dtype", default="float32", help="bfloat16 is faster and changes some words")
    parser.add_argument("--language", default="en")
    options = parser.parse_args()
    speech = Speech(options.sources, leave_out_splits=["test", "valid"])
    rows = read_rows(options.output)
    known = {(row["path"], row["start"]) for row in rows}
    needed = [
        number
        for number, clip in enumerate(speech.clips)
        if not clip.label("text") and place(clip, options.output) not in known
    ]
    if needed:
        recognizer = load_recognizer(options.recognizer, language=options.language, dtype=options.recognizer_dtype)
        for more in label(speech, needed, recognizer, options.output):
            rows += more
            write_rows(options.output, rows)
            print(f"{len(rows)} clips, {sum(not row['text'] for row in rows)} of them without a text", flush=True)
    print(f"{options.output}: {len(rows)} clips, {sum(bool(row['text']) for row in rows)} with a text")


def label(
    speech: Speech, numbers: Sequence[int], recognizer: Recognizer, output: Path
) -> Iterator[list[dict[str, str]]]:
    """Rows of a manifest for some clips, a batch at a time; those that cannot be read have no text."""
    clips = speech.read(SAMPLE_RATE, numbers)
    while batch := list(islice(clips, _BATCH)):
        waveforms = [waveform.numpy() for _, waveform in batch if isinstance(waveform, Tensor)]
        texts = iter(recognizer.transcribe(waveforms))
        rows = []
        for clip, waveform in batch:
            text = ""
            if isinstance(waveform, Tensor):
                text = plausible(next(texts), len(waveform) / SAMPLE_RATE, recognizer.language)
            path, start = place(clip, output)
            duration = "" if clip.duration is None else str(clip.duration)
            columns = {name: clip.label(name) for name in ("speaker", "split")}
            source = {"text": text, "text_source": recognizer.name}
            rows.append({"path": path, "start": start, "duration": duration} | columns | source)
        yield rows


def plausible(text: str, seconds: float, language: str) -> str:
    """A transcript in words, or nothing if it is none."""
    written = text.strip().encode()
    if not written or len(written) / len(zlib.compress(written)) > _MOST_COMPRESSION:
        return ""
    if len(text) > _MOST_CHARACTERS_A_SECOND * seconds:
        return ""
    return spoken_form(text, language)


def place(clip: Clip, output: Path) -> tuple[str, str]:
    """The path and the start of a clip as the manifest has them: relative to its folder, if the clip is below that."""
    path, folder = Path(clip.path).absolute(), output.parent.absolute()
    below = path.relative_to(folder) if path.is_relative_to(folder) else path
    return str(below), "" if clip.start is None else str(clip.start)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a manifest that was begun; none if there is none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
