"""`semtok encode`, `decode` and `resynth`: files and folders of speech to tokens and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semtok.audio.files import WRITTEN_SUFFIXES
from semtok.cli.files import STANDARD, TOKENS, Job, plan_from_audio, plan_from_tokens, readable, writable
from semtok.cli.options import (
    Checkpoint,
    Device,
    Inputs,
    Layers,
    LocalFilesOnly,
    Output,
    Revision,
    SkipExisting,
    Speaker,
    load_tokenizer,
    load_vocoder,
    parse_layers,
)
from semtok.codebooks.layers import Layer
from semtok.errors import AudioError, TokensError

if TYPE_CHECKING:
    from torch import Tensor

    from semtok.cli.progress import FileProgress
    from semtok.tokenizer import Tokenizer
    from semtok.tokens import Tokens
    from semtok.vocoder import Vocoder

# What is decoded and written at a time; bounds memory.
_PIECE_SECONDS = 25


def encode(
    inputs: Inputs,
    output: Output,
    checkpoint: Checkpoint = "tiny",
    layers: Layers = None,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    skip_existing: SkipExisting = False,
) -> None:
    """Speech to tokens: a .safetensors file for each audio file.

    Folders are searched for files of audio, links followed, and their subfolders are kept in the output; if a folder
    has a manifest.csv, those in its column `path` are taken. Files that cannot be read or written are reported and left
    out; the exit code is then 1.
    """
    plan, chosen = plan_from_audio(inputs, output, written=TOKENS), parse_layers(layers)
    tokenizer = load_tokenizer(
        checkpoint, layers=chosen, device=device, revision=revision, local_files_only=local_files_only
    )
    from semtok.cli.progress import file_progress

    with file_progress("encoding", "encoded", plan, output) as progress:
        for job, tokens in encode_jobs(needed_jobs(plan.jobs, skip_existing, progress), tokenizer, progress):
            with progress.attempt(job.source):
                with writable(job.target, TOKENS[0]) as path:
                    tokens.save(path)
                progress.succeed(float(tokens.durations))


def decode(
    inputs: Inputs,
    output: Output,
    checkpoint: Checkpoint = "tiny",
    layers: Layers = None,
    speaker: Speaker = None,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    skip_existing: SkipExisting = False,
) -> None:
    """Tokens to speech: a .wav file for each file of tokens.

    Decodes all layers that the tokens have, or those of --layers. The checkpoint must be the one that encoded. A file
    of several utterances, which Tokens.save can write, gives NAME-0.wav, NAME-1.wav and so on.
    """
    plan, chosen = plan_from_tokens(inputs, output), parse_layers(layers)
    vocoder = load_vocoder(checkpoint, device=device, revision=revision, local_files_only=local_files_only)
    from semtok.audio.io import save_audio
    from semtok.cli.progress import file_progress
    from semtok.codebooks.layers import check_layers
    from semtok.tokens import Tokens

    if chosen is not None:
        check_layers(chosen, vocoder.layers, owner=f"the vocoder of {checkpoint}")
    voice = None if speaker is None else vocoder.speaker(speaker)[0]
    with file_progress("decoding", "decoded", plan, output) as progress:
        for job in plan.jobs:
            with progress.attempt(job.source):
                with readable(job.source) as path:
                    tokens = Tokens.load(path)
                targets = _utterance_targets(job.target, len(tokens))
                if skip_existing and all(target.is_file() for target in targets):
                    progress.skip()
                    continue
                for target, utterance in zip(targets, tokens, strict=True):
                    with writable(target, WRITTEN_SUFFIXES[0]) as path:
                        pieces = _decode_pieces(vocoder, utterance, chosen, voice)
                        save_audio(path, pieces, sample_rate=vocoder.sample_rate)
                progress.succeed(float(tokens.durations.sum()))


def resynth(
    inputs: Inputs,
    output: Output,
    checkpoint: Checkpoint = "tiny",
    layers: Layers = None,
    speaker: Speaker = None,
    device: Device = "cpu",
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    skip_existing: SkipExisting = False,
) -> None:
    """Speech to tokens and back: a .wav file for each audio file.

    To hear what the tokens of some layers keep. Folders and broken files are treated as by `encode`.
    """
    plan, chosen = plan_from_audio(inputs, output, written=WRITTEN_SUFFIXES), parse_layers(layers)
    vocoder = load_vocoder(checkpoint, device=device, revision=revision, local_files_only=local_files_only)
    from semtok.audio.io import save_audio
    from semtok.cli.progress import file_progress
    from semtok.codebooks.layers import check_layers

    chosen = check_layers(chosen or vocoder.layers, vocoder.layers, owner=f"the vocoder of {checkpoint}")
    tokenizer = load_tokenizer(
        checkpoint, layers=chosen, device=device, revision=revision, local_files_only=local_files_only
    )
    voice = None if speaker is None else vocoder.speaker(speaker)[0]
    with file_progress("resynthesising", "resynthesised", plan, output) as progress:
        for job, tokens in encode_jobs(needed_jobs(plan.jobs, skip_existing, progress), tokenizer, progress):
            with progress.attempt(job.source):
                with writable(job.target, WRITTEN_SUFFIXES[0]) as path:
                    pieces = _decode_pieces(vocoder, tokens, chosen, voice)
                    save_audio(path, pieces, sample_rate=vocoder.sample_rate)
                progress.succeed(float(tokens.durations))


def needed_jobs(jobs: Sequence[Job], skip_existing: bool, progress: FileProgress) -> Iterator[Job]:
    """Those that are not there yet."""
    for job in jobs:
        if skip_existing and job.target.is_file():
            progress.skip()
        else:
            yield job


def _utterance_targets(target: Path, utterances: int) -> list[Path]:
    if utterances == 1:
        return [target]
    if target == STANDARD:
        raise TokensError(f"{utterances} utterances do not go to standard output: give a folder")
    digits = len(str(utterances - 1))
    return [target.with_stem(f"{target.stem}-{number:0{digits}}") for number in range(utterances)]


def encode_jobs(jobs: Iterator[Job], tokenizer: Tokenizer, progress: FileProgress) -> Iterator[tuple[Job, Tokens]]:
    """Tokens of every file that can be encoded, as they are done; the others are reported to `progress`."""
    needed = list(jobs)
    if not needed:
        return
    sources = [sys.stdin.buffer if job.source == STANDARD else job.source for job in needed]
    for number, tokens in tokenizer.encode_each(sources):
        if isinstance(tokens, AudioError):
            progress.fail(needed[number].source, tokens)
        else:
            yield needed[number], tokens


def _decode_pieces(
    vocoder: Vocoder, utterance: Tokens, layers: Sequence[Layer] | None, speaker: Tensor | None
) -> Iterator[Tensor]:
    """The speech of one utterance, in pieces [samples] that follow each other."""
    frames, step = int(utterance.lengths), round(_PIECE_SECONDS * vocoder.frame_rate)
    if frames <= 2 * step:
        yield vocoder.decode(utterance, layers=layers, speaker=speaker)[0]
        return
    with vocoder.stream(layers=layers, speaker=speaker) as stream:
        for start in range(0, frames, step):
            yield stream.push(utterance.cut(start, start + step))
        yield stream.flush()
