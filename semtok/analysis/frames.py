"""All frames of a study's clips in one pass over the audio: their codes, what the codebooks leave over, a sample.

The pass is cut into shards, each a file that appears whole, so that a study that was stopped goes on where it was. No
more than a shard's audio and one batch of features are in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semtok.analysis.alignments import frame_times
from semtok.analysis.contingency import Integers
from semtok.audio.mel import log_mel, mel_bank
from semtok.audio.recordings import open_recordings
from semtok.codebooks.codebooks import Codebooks
from semtok.encoder.batches import Clips, run_each
from semtok.encoder.encoder import Encoder
from semtok.errors import AudioError
from semtok.speech.reading import Numbered, Speech
from semtok.support.atomic import atomic_write
from semtok.support.progress import progress_bar
from semtok.tokenizer import Tokenizer

# Longer recordings are cut into pieces, each of which is encoded by itself.
_PIECE_SECONDS = 30
_SHARD_SECONDS = 300
# Frames whose features are kept, for measures of continuous features.
_SAMPLED_FRAMES = 10_000
_MEL_BANDS, _MEL_FLOOR = 40, 1e-5
# With fewer clips, pieces of this length stand for them where some are held out.
_FEW_CLIPS, _SEGMENT_FRAMES = 8, 50


class Piece(NamedTuple):
    """A piece of a clip: its waveform [samples] from `start` (samples), and features [layers, frames, dim]."""

    clip: int
    start: int
    waveform: Tensor
    features: Tensor


def read_pieces(
    encoder: Encoder, clips: Iterable[Numbered], layers: Sequence[int]
) -> Iterator[Piece | tuple[int, AudioError]]:
    """Features of each piece of some clips, in any order; or the error of a clip that is too short or unreadable."""
    pieces, places = [], []
    for clip, _, recording in clips:
        try:
            if isinstance(recording, AudioError):
                raise recording
            waveform = recording.load()
        except AudioError as error:
            yield clip, error
            continue
        if len(waveform) < encoder.minimum_samples:
            name, least = recording.name, encoder.minimum_samples
            yield clip, AudioError(f"{name} is too short: {len(waveform)} samples, a frame has {least}")
            continue
        count = -(-len(waveform) // (_PIECE_SECONDS * encoder.sample_rate))
        start = 0
        for piece in waveform.tensor_split(count):
            places.append((clip, start))
            pieces.append(piece)
            start += len(piece)
    if not pieces:
        return
    recordings = open_recordings(pieces, sample_rate=None, target_sample_rate=encoder.sample_rate)
    windows = encoder.framing.windows()
    for number, features in run_each(Clips(encoder, recordings, tuple(layers), windows)):
        clip, start = places[number]
        if isinstance(features, AudioError):
            raise features
        yield Piece(clip, start, pieces[number], features)


@dataclass(frozen=True, eq=False)
class Frames:
    """All frames of the clips that could be encoded, piece by piece.

    Args:
        codebooks: of the rows.
        frame_rate: frames a second.
        codes: int64 [rows, frames].
        lengths: int64 [pieces], frames of each piece.
        clips: int64 [pieces], the number of each one's clip.
        times: float64 [frames], the centre of each frame in its clip, in seconds.
        unexplained: by row, the share of the variance of its layer's features that is left over once it and the
            residual stages before it are taken off: the quantization error.
        features: float16 [layers, sampled, dim], of frames drawn at random.
        mels: float16 [sampled, 40], log-mel spectra of the same frames.
        left_out: why, for each clip that could not be encoded.
    """

    codebooks: Codebooks
    frame_rate: float
    codes: Integers
    lengths: Integers
    clips: Integers
    times: npt.NDArray[np.float64]
    unexplained: tuple[float, ...]
    features: npt.NDArray[np.float16]
    mels: npt.NDArray[np.float16]
    left_out: tuple[str, ...]

    @cached_property
    def clip_of(self) -> Integers:
        """int64 [frames]: the number of each frame's clip."""
        return np.repeat(self.clips, self.lengths)

    @cached_property
    def groups(self) -> Integers:
        """int64 [frames]: what is held out together: clips, or pieces of a second where there are fewer than 8."""
        if len(np.unique(self.clips)) >= _FEW_CLIPS:
            return self.clip_of
        position = np.concatenate([np.arange(length) for length in self.lengths]) // _SEGMENT_FRAMES
        piece = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return np.unique(np.stack([piece, position]), axis=1, return_inverse=True)[1].reshape(-1)

    def first_rows(self) -> dict[int, int]:
        """The row of each layer's first stage: what layers can be compared by, whatever their number of stages."""
        return {layer: rows.start for layer, rows in self.codebooks.rows.items()}

    def rows_of(self, layers: Sequence[int]) -> list[int]:
        """The rows of some layers, all stages."""
        rows = self.codebooks.rows
        return [row for layer in layers for row in range(rows[layer].start, rows[layer].stop)]


def encode_frames(tokenizer: Tokenizer, speech: Speech, folder: Path) -> Frames:
    """The frames of clips; shards that lie in `folder` already, of the same tokenizer and audio, are read from there.

    Raises:
        AudioError: no clip can be encoded.
    """
    shards, seconds = _plan(speech, tokenizer.sample_rate)
    share = min(1.0, _SAMPLED_FRAMES / max(1.0, seconds * tokenizer.frame_rate))
    folder.mkdir(parents=True, exist_ok=True)
    read = []
    with progress_bar("encoding", len(shards)) as bar:
        for shard in shards:
            file = folder / f"frames-{_identity(tokenizer, speech, shard, share)}.npz"
            if not file.exists():
                arrays = _encode_shard(tokenizer, speech, shard, share)
                with atomic_write(file) as aside, aside.open("wb") as out:
                    np.savez(out, allow_pickle=False, **arrays)
            with np.load(file, allow_pickle=False) as arrays:
                read.append(dict(arrays) | {"clips": np.asarray(shard)[arrays["clips"]]})
            bar.advance()
    return _join(tokenizer, read)


def _plan(speech: Speech, sample_rate: int) -> tuple[list[list[int]], float]:
    """Numbers of the clips of each shard, and the seconds of all."""
    shards: list[list[int]] = [[]]
    total = in_shard = 0.0
    for number, _, recording in speech.recordings(sample_rate):
        try:
            seconds = 0.0 if isinstance(recording, AudioError) else recording.samples / sample_rate
        except AudioError:
            seconds = 0.0  # it is left out later on
        if shards[-1] and in_shard + seconds > _SHARD_SECONDS:
            shards.append([])
            in_shard = 0.0
        shards[-1].append(number)
        in_shard, total = in_shard + seconds, total + seconds
    return shards, total


def _identity(tokenizer: Tokenizer, speech: Speech, shard: Sequence[int], share: float) -> str:
    """Of what a shard is made of: the same shard is not made twice."""
    clips = [(clip.id, clip.start, clip.duration) for clip in (speech.clips[number] for number in shard)]
    stamps = [speech.stamps[number] for number in shard] if speech.is_listed else speech.stamps
    parts = [tokenizer.fingerprint, list(tokenizer.codebooks.items()), str(tokenizer.dtype), share, clips, stamps]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _encode_shard(
    tokenizer: Tokenizer, speech: Speech, shard: Sequence[int], share: float
) -> dict[str, npt.NDArray[Any]]:
    encoder, layers, rows = tokenizer.encoder, tokenizer.layers, len(tokenizer.codebooks.sizes)
    pieces: dict[tuple[int, int], dict[str, npt.NDArray[Any]]] = {}
    left_out = []
    places = {number: place for place, number in enumerate(shard)}
    for outcome in read_pieces(encoder, speech.recordings(encoder.sample_rate, shard), layers):
        if isinstance(outcome, Piece):
            outcome = outcome._replace(clip=places[outcome.clip])
            pieces[outcome.clip, outcome.start] = _encode_piece(tokenizer, outcome, share)
        else:
            left_out.append(str(outcome[1]))
    nothing: dict[str, npt.NDArray[Any]] = {
        "codes": np.zeros((rows, 0), np.int32),
        "times": np.zeros(0),
        "features": np.zeros((len(layers), 0, encoder.dim), np.float16),
        "mels": np.zeros((0, _MEL_BANDS), np.float16),
    }
    ordered = [pieces[place] for place in sorted(pieces)]
    joined = {
        name: np.concatenate([none, *(piece[name] for piece in ordered)], axis=0 if name == "mels" else none.ndim // 2)
        for name, none in nothing.items()
    }
    return joined | {
        "lengths": np.array([piece["codes"].shape[1] for piece in ordered], np.int64),
        "clips": np.array([clip for clip, _ in sorted(pieces)], np.int64),
        "moments": np.sum([np.zeros((len(layers), encoder.dim + 2)), *(piece["moments"] for piece in ordered)], axis=0),
        "left": np.sum([np.zeros(rows), *(piece["left"] for piece in ordered)], axis=0),
        "left_out": np.array(left_out, dtype=np.str_),
    }


def _encode_piece(tokenizer: Tokenizer, piece: Piece, share: float) -> dict[str, npt.NDArray[Any]]:
    encoder, frames = tokenizer.encoder, piece.features.shape[1]
    codes, left = zip(
        *(_quantize(tokenizer, layer, of) for layer, of in zip(tokenizer.layers, piece.features, strict=True)),
        strict=True,
    )
    chosen = np.random.default_rng([piece.clip, piece.start]).random(frames) < share
    return {
        "codes": torch.cat(codes, dim=1).T.cpu().numpy().astype(np.int32),
        "left": np.concatenate(left),
        "moments": _moments(piece.features),
        "times": piece.start / encoder.sample_rate + frame_times(encoder.framing, frames),
        "features": piece.features[:, torch.from_numpy(chosen)].cpu().numpy().astype(np.float16),
        "mels": _mels(encoder, piece.waveform, frames)[chosen].astype(np.float16),
    }


def _quantize(tokenizer: Tokenizer, layer: int, features: Tensor) -> tuple[Tensor, npt.NDArray[np.float64]]:
    """Codes [frames, stages] of features [frames, dim], and the squared distance that each stage leaves over."""
    quantizer = tokenizer.network.quantizer(layer)
    codes: Tensor = quantizer(features)
    left, errors = features.float(), []
    for stage, column in zip(quantizer.stages, codes.unbind(1), strict=True):
        left = left - stage.centroids[column]
        errors.append(float(left.double().square().sum()))
    return codes, np.array(errors)


def _moments(features: Tensor) -> npt.NDArray[np.float64]:
    """Sum of the features [layers, frames, dim], sum of their squares, and number of frames: [layers, dim + 2]."""
    points = features.double()
    squares = points.square().sum(dim=(1, 2))[:, None]
    counts = torch.full_like(squares, points.shape[1])
    moments: npt.NDArray[np.float64] = torch.cat([points.sum(1), squares, counts], dim=1).cpu().numpy()
    return moments


def _mels(encoder: Encoder, waveform: Tensor, frames: int) -> npt.NDArray[np.float32]:
    """Log-mel spectra [frames, bands] of what the encoder sees for each frame."""
    window = encoder.minimum_samples
    bank = mel_bank(window, _MEL_BANDS, encoder.sample_rate)
    spectra = torch.stft(
        waveform.float().cpu(),
        window,
        encoder.hop_length,
        window=torch.hann_window(window),
        center=False,
        return_complex=True,
    )
    mels: npt.NDArray[np.float32] = log_mel(spectra.abs().T, bank, floor=_MEL_FLOOR)[:frames].numpy()
    return mels


def _join(tokenizer: Tokenizer, shards: Sequence[dict[str, npt.NDArray[Any]]]) -> Frames:
    lengths = np.concatenate([shard["lengths"] for shard in shards])
    left_out = [str(reason) for shard in shards for reason in shard["left_out"]]
    if len(lengths) == 0:
        raise AudioError(f"none of the clips can be encoded: {'; '.join(left_out[:3])}")
    moments = np.sum([shard["moments"] for shard in shards], axis=0)
    means, squares, count = moments[:, :-2] / moments[:, -1:], moments[:, -2], moments[:, -1]
    variances = np.repeat(squares - count * np.square(means).sum(axis=1), tokenizer.stages)
    unexplained = np.sum([shard["left"] for shard in shards], axis=0) / np.maximum(variances, np.finfo(float).tiny)
    return Frames(
        tokenizer.codebooks,
        tokenizer.frame_rate,
        np.concatenate([shard["codes"] for shard in shards], axis=1).astype(np.int64),
        lengths,
        np.concatenate([shard["clips"] for shard in shards]),
        np.concatenate([shard["times"] for shard in shards]),
        tuple(unexplained.tolist()),
        np.concatenate([shard["features"] for shard in shards], axis=1),
        np.concatenate([shard["mels"] for shard in shards]),
        tuple(left_out),
    )
