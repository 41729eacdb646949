"""What an encoder kept of the teacher that it was distilled from: the layers of both on the same frames.

    python experiments/teacher.py --audio FOLDER --alignments FILE --teacher openai/whisper-base -o RESULT

Each layer of both gets one codebook of its own, fitted to these frames, so that rows differ by the features alone. Of
each row: PNMI, phone purity, and the bits of phones and speakers that a linear probe reads in clips it has not seen;
then, of continuous features, how similar each layer of the teacher is to each of the student (PWCCA, held out).
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from tables import cpu_name
from torch import Tensor

from semtok import Tokenizer
from semtok.analysis import information, probe, pwcca
from semtok.analysis.clips import PHONES, SPEAKER, read_tiers
from semtok.audio.recordings import Recording
from semtok.errors import AudioError, SemtokError
from semtok.evaluation.alignments import Alignment, frame_times
from semtok.speech.clip import Clip
from semtok.speech.reading import Speech
from semtok.support.arrays import Integers
from semtok.support.atomic import atomic_write
from semtok.support.progress import track
from semtok.training.encoder.config import Teacher
from semtok.training.encoder.teachers import TeacherEncoder, open_teacher
from semtok.training.kmeans.kmeans import KMeans

CLIPS_AT_A_TIME = 40
COMPARED_FRAMES = 20_000

Layers: TypeAlias = Mapping[str, npt.NDArray[np.float16]]
"""Features [frames, dim] by the name of their layer."""


@dataclass(frozen=True)
class Labels:
    """Of each frame, int64 [frames]: its phone, or -1; its speaker, or -1; its clip."""

    phones: Integers
    speakers: Integers
    clips: Integers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", required=True, type=Path, help="folder or manifest of speech")
    parser.add_argument("--alignments", required=True, type=Path, help="phones of some of the clips, which are taken")
    parser.add_argument("--teacher", required=True, help="hub id or folder")
    parser.add_argument("--layers", type=int, nargs="+", default=list(range(7)), help="of the teacher")
    parser.add_argument("--checkpoint", default="tiny", help="of the student")
    parser.add_argument("--codebook-size", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()

    tokenizer = Tokenizer.from_pretrained(options.checkpoint)
    teacher = open_teacher(Teacher(options.teacher, 0, 0, 1), max(options.layers), torch.device("cpu"))
    speech = Speech([options.audio])
    phones = read_tiers(speech, options.audio, options.alignments).get(PHONES, {})
    if not phones:
        raise SemtokError(f"{options.alignments} has no clip of {options.audio}: give those that are aligned")
    student_layers, teacher_layers, labels = read_features(tokenizer, teacher, options.layers, speech, phones)
    rows = [
        [name, *measure(features, labels, options.codebook_size)]
        for name, features in track([*teacher_layers.items(), *student_layers.items()], "layers", None)
    ]
    similarity = compare(teacher_layers, student_layers)
    about = (
        f"`python {' '.join(sys.argv)}`: {len(phones)} clips, {len(labels.clips)} frames, K = {options.codebook_size} "
        f"a layer; {cpu_name()}, {os.cpu_count()} cores, torch {torch.__version__}, {datetime.date.today()}."
    )
    write(options.output, rows, similarity, list(teacher_layers), list(student_layers), about)


def read_features(
    tokenizer: Tokenizer,
    teacher: TeacherEncoder,
    layers: Sequence[int],
    speech: Speech,
    phones: Mapping[int, Alignment],
) -> tuple[Layers, Layers, Labels]:
    """Features of the student's and of the teacher's layers, a teacher's frame for each of the student's."""
    encoder = tokenizer.encoder
    shift = round((encoder.minimum_samples / 2 - teacher.centre) / encoder.hop_length)
    student: list[list[npt.NDArray[np.float16]]] = [[] for _ in tokenizer.layers]
    taught: list[list[npt.NDArray[np.float16]]] = [[] for _ in layers]
    counts = []
    clips = [speech.clips[number] for number in phones]
    opened = speech.recordings(tokenizer.sample_rate, list(phones))
    for _ in track(range(0, len(clips), CLIPS_AT_A_TIME), "features", -(-len(clips) // CLIPS_AT_A_TIME)):
        waveforms = [load(recording) for _, _, recording in islice(opened, CLIPS_AT_A_TIME)]
        by_layer = teacher.features(waveforms, layers)
        for number, waveform in enumerate(waveforms):
            features = tokenizer.features(waveform)[0]
            counts.append(features.shape[1])
            for parts, of_layer in zip(student, features, strict=True):
                parts.append(of_layer.half().numpy())
            for parts, of_clips in zip(taught, by_layer, strict=True):
                nearest = (np.arange(counts[-1]) + shift).clip(0, len(of_clips[number]) - 1)
                parts.append(of_clips[number][nearest].half().numpy())
    return (
        {f"student {layer}": np.concatenate(parts) for layer, parts in zip(tokenizer.layers, student, strict=True)},
        {f"teacher {layer}": np.concatenate(parts) for layer, parts in zip(layers, taught, strict=True)},
        read_labels(tokenizer, clips, list(phones.values()), counts),
    )


def load(recording: Recording | AudioError) -> Tensor:
    if isinstance(recording, AudioError):
        raise recording
    return recording.load()


def read_labels(
    tokenizer: Tokenizer, clips: Sequence[Clip], alignments: Sequence[Alignment], counts: Sequence[int]
) -> Labels:
    phones = sorted({phone for alignment in alignments for phone in alignment.phones})
    speakers = sorted({speaker for clip in clips if (speaker := clip.label(SPEAKER))})
    framing = tokenizer.encoder.framing
    return Labels(
        np.concatenate(
            [
                alignment.labels(frame_times(framing, count), phones)
                for alignment, count in zip(alignments, counts, strict=True)
            ]
        ),
        np.repeat([speakers.index(clip.label(SPEAKER)) if clip.label(SPEAKER) else -1 for clip in clips], counts),
        np.repeat(np.arange(len(clips)), counts),
    )


def measure(features: npt.NDArray[np.float16], labels: Labels, codebook_size: int) -> list[float]:
    """PNMI, purity, and bits of phones and of speakers (NaN without them) by a probe, of a layer's own codebook."""
    points = torch.from_numpy(features)
    codes = KMeans(codebook_size).fit(points).predict(points).numpy()
    aligned = labels.phones >= 0
    counted = information(labels.phones[aligned], codes[aligned], labels.clips[aligned])
    bits = []
    for of in (labels.phones, labels.speakers):
        known = of >= 0
        enough = len(np.unique(of[known])) > 1
        bits.append(
            probe(codes[None, known], of[known], labels.clips[known], [codebook_size], linear=True).bits
            if enough
            else float("nan")
        )
    return [counted.normalized, counted.purity, *bits]


def compare(teacher: Layers, student: Layers) -> npt.NDArray[np.float64]:
    """PWCCA [teacher's layers, student's layers] on frames drawn at random."""
    frames = len(next(iter(teacher.values())))
    drawn = np.random.default_rng(0).permutation(frames)[:COMPARED_FRAMES]
    return np.array([[pwcca(one[drawn], other[drawn]) for other in student.values()] for one in teacher.values()])


def write(
    folder: Path,
    rows: Sequence[Sequence[str | float]],
    similarity: npt.NDArray[np.float64],
    teacher: Sequence[str],
    student: Sequence[str],
    about: str,
) -> None:
    """`teacher.md` with both tables, which are printed."""
    lines = [
        "| layer | PNMI | phone purity | phones, bits | speakers, bits |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {pnmi:.3f} | {purity:.3f} | {bits:.2f} | {speakers:.2f} |"
            for name, pnmi, purity, bits, speakers in rows
        ),
        "",
        f"| PWCCA | {' | '.join(student)} |",
        "|---" * (1 + len(student)) + "|",
        *(
            f"| {name} | {' | '.join(format(value, '.2f') for value in of)} |"
            for name, of in zip(teacher, similarity, strict=True)
        ),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*lines, "", about, ""])
    with atomic_write(folder / "teacher.md") as aside:
        aside.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
