"""`semtok encode`, `decode` and `resynth`: files and folders of speech to tokens and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semtok.audio.files import AUDIO_SUFFIXES
from semtok.cli.files import TOKENS, Job, plan
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
from semtok.errors import AudioError, SemtokError

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

    Folders are searched for .wav, .flac, .ogg, .opus and .mp3 files, and their subfolders are kept in the output. Files
    that cannot be read are reported and left out; the exit code is then 1.
    """
    jobs, chosen = plan(inputs, output, read=AUDIO_SUFFIXES, written=TOKENS), parse_layers(layers)
    tokenizer = load_tokenizer(
        checkpoint, layers=chosen, device=device, revision=revision, local_files_only=local_files_only
    )
    from semtok.cli.progress import FileProgress

    with FileProgress("encoding", "encoded", len(jobs)) as progress:
        for job, tokens in _encode(_needed(jobs, skip_existing, progress), tokenizer, progress):
            job.target.parent.mkdir(parents=True, exist_ok=True)
            tokens.save(job.target)
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
    jobs, chosen = plan(inputs, output, read=TOKENS, written=AUDIO_SUFFIXES), parse_layers(layers)
    vocoder = load_vocoder(checkpoint, device=device, revision=revision, local_files_only=local_files_only)
    from semtok.audio.io import save_audio
    from semtok.cli.progress import FileProgress
    from semtok.codebooks.layers import check_layers
    from semtok.tokens import Tokens

    if chosen is not None:
        check_layers(chosen, vocoder.layers, owner=f"the vocoder of {checkpoint}")
    voice = None if speaker is None else vocoder.speaker(speaker)[0]
    with FileProgress("decoding", "decoded", len(jobs)) as progress:
        for job in jobs:
            try:
                tokens = Tokens.load(job.source)
                targets = _utterance_targets(job.target, len(tokens))
                if skip_existing and all(target.exists() for target in targets):
                    progress.skip()
                    continue
                job.target.parent.mkdir(parents=True, exist_ok=True)
                for target, utterance in zip(targets, tokens, strict=True):
                    pieces = _decode_pieces(vocoder, utterance, chosen, voice)
                    save_audio(target, pieces, sample_rate=vocoder.sample_rate)
                progress.succeed(float(tokens.durations.sum()))
            except SemtokError as error:
                progress.fail(job.source, error)


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
    jobs, chosen = plan(inputs, output, read=AUDIO_SUFFIXES, written=AUDIO_SUFFIXES), parse_layers(layers)
    vocoder = load_vocoder(checkpoint, device=device, revision=revision, local_files_only=local_files_only)
    from semtok.audio.io import save_audio
    from semtok.cli.progress import FileProgress
    from semtok.codebooks.layers import check_layers

    chosen = check_layers(chosen or vocoder.layers, vocoder.layers, owner=f"the vocoder of {checkpoint}")
    tokenizer = load_tokenizer(
        checkpoint, layers=chosen, device=device, revision=revision, local_files_only=local_files_only
    )
    voice = None if speaker is None else vocoder.speaker(speaker)[0]
    with FileProgress("resynthesising", "resynthesised", len(jobs)) as progress:
        for job, tokens in _encode(_needed(jobs, skip_existing, progress), tokenizer, progress):
            job.target.parent.mkdir(parents=True, exist_ok=True)
            save_audio(job.target, _decode_pieces(vocoder, tokens, chosen, voice), sample_rate=vocoder.sample_rate)
            progress.succeed(float(tokens.durations))


def _needed(jobs: Sequence[Job], skip_existing: bool, progress: FileProgress) -> Iterator[Job]:
    for job in jobs:
        if skip_existing and job.target.exists():
            progress.skip()
        elif not job.source.exists():  # a link to nothing
            progress.fail(job.source, AudioError(f"there is no audio file {job.source}"))
        else:
            yield job


def _utterance_targets(target: Path, utterances: int) -> list[Path]:
    if utterances == 1:
        return [target]
    digits = len(str(utterances - 1))
    return [target.with_stem(f"{target.stem}-{number:0{digits}}") for number in range(utterances)]


def _encode(jobs: Iterator[Job], tokenizer: Tokenizer, progress: FileProgress) -> Iterator[tuple[Job, Tokens]]:
    """Tokens of every file that can be encoded, as they are done; the others are reported to `progress`."""
    if not (found := list(jobs)):
        return
    for number, tokens in tokenizer.encode_each([job.source for job in found]):
        if isinstance(tokens, AudioError):
            progress.fail(found[number].source, tokens)
        else:
            yield found[number], tokens


def _decode_pieces(
    vocoder: Vocoder, utterance: Tokens, layers: Sequence[int] | None, speaker: Tensor | None
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
