"""All frames of a study's clips in one pass over the audio: their codes, what the codebooks leave over, a sample."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semtok.audio.mel import log_mel, mel_bank
from semtok.audio.recordings import Recording, open_recordings
from semtok.codebooks.codebooks import Codebooks, code_type
from semtok.codebooks.layers import Layer
from semtok.encoder.batches import Clips, run_each
from semtok.encoder.encoder import Encoder
from semtok.encoder.windows import run_windows
from semtok.errors import AudioError
from semtok.evaluation.alignments import frame_times
from semtok.networks.precision import exact_float32
from semtok.speech.reading import Speech
from semtok.speech.store import Array, Copies, Form, Store, open_store, parts_of
from semtok.support.arrays import Integers
from semtok.tokenizer import Tokenizer

# Recordings that are open at a time.
_AT_A_TIME = 32
# Frames whose features are kept, about, for measures of continuous features.
_SAMPLED_FRAMES = 10_000
_MEL_BANDS, _MEL_FLOOR = 40, 1e-5
# With fewer clips, pieces of this length stand for them where some are held out.
_FEW_CLIPS, _SEGMENT_FRAMES = 8, 50


def read_features(
    encoder: Encoder, recordings: Iterable[tuple[int, Recording | AudioError]], layers: Sequence[Layer]
) -> Iterator[tuple[int, Tensor | AudioError]]:
    """Features [layers, frames, dim] of numbered recordings, those of `Tokenizer.features`, or why there are none.

    A long recording gives several in a row, one for each window, so that memory does not grow with its length.
    """
    windows, remaining = encoder.framing.windows(), iter(recordings)
    while some := list(islice(remaining, _AT_A_TIME)):
        short: list[tuple[int, Recording]] = []
        long: list[tuple[int, Recording]] = []
        for number, recording in some:
            if isinstance(recording, AudioError):
                yield number, recording
            elif isinstance(samples := _count_samples(recording), AudioError):
                yield number, samples
            else:
                fits = windows.one_is_enough(encoder.framing.count(samples))
                (short if fits else long).append((number, recording))
        clips = Clips(encoder, [recording for _, recording in short], tuple(layers), windows)
        for place, features in run_each(clips):
            yield short[place][0], features
        for number, recording in long:
            yield from ((number, features) for features in _run_long(encoder, recording, layers))


def _count_samples(recording: Recording) -> int | AudioError:
    try:
        return recording.samples
    except AudioError as error:
        return error


def _run_long(encoder: Encoder, recording: Recording, layers: Sequence[Layer]) -> Iterator[Tensor | AudioError]:
    try:
        yield from run_windows(encoder, recording, layers, encoder.framing.windows())
    except AudioError as error:
        yield error


@dataclass(frozen=True, eq=False)
class CodedFrames:
    """The codes of all frames of the clips that could be encoded, clip by clip.

    Args:
        codebooks: of the rows.
        frame_rate: frames a second.
        codes: int64 [rows, frames].
        lengths: int64 [clips], frames of each clip.
        clips: int64 [clips], the number of each clip in the speech.
        times: float64 [frames], the centre of each frame in its clip, in seconds.
        left_out: why, for each clip that could not be encoded.
    """

    codebooks: Codebooks
    frame_rate: float
    codes: Integers
    lengths: Integers
    clips: Integers
    times: npt.NDArray[np.float64]
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
        return np.unique(np.stack([self.clip_of, position]), axis=1, return_inverse=True)[1].reshape(-1)

    def first_rows(self) -> dict[Layer, int]:
        """The row of each layer's first stage: what layers can be compared by, whatever their number of stages."""
        return {layer: rows.start for layer, rows in self.codebooks.rows.items()}

    def rows_of(self, layers: Sequence[Layer]) -> list[int]:
        """The rows of some layers, all stages."""
        rows = self.codebooks.rows
        return [row for layer in layers for row in range(rows[layer].start, rows[layer].stop)]


@dataclass(frozen=True, eq=False)
class Frames(CodedFrames):
    """The same of a tokenizer of semtok, with what its codebooks leave over.

    Args:
        unexplained: by row, the share of the variance of its layer's features that is left over once it and the
            residual stages before it are taken off: the quantization error.
        features: float16 [layers, sampled, dim], of frames drawn at random.
        mels: float16 [sampled, 40], log-mel spectra of the same frames.
    """

    unexplained: tuple[float, ...]
    features: npt.NDArray[np.float16]
    mels: npt.NDArray[np.float16]


def encode_frames(tokenizer: Tokenizer, speech: Speech, folder: Path) -> Frames:
    """The frames of clips; what was made of the same tokenizer and audio is read from a store in `folder`.

    Raises:
        AudioError: no clip can be encoded.
    """
    opened = (recording for _, _, recording in speech.recordings(tokenizer.sample_rate))
    counts = (_count_samples(recording) for recording in opened if isinstance(recording, Recording))
    # Clips that cannot be read are left out later on.
    total = sum(count for count in counts if isinstance(count, int)) / tokenizer.hop_length
    # A power of two: a few clips more or less do not change which frames are sampled of the others.
    share = min(1.0, 2.0 ** round(math.log2(_SAMPLED_FRAMES / max(1.0, total))))
    parts = parts_of(speech, tokenizer.sample_rate)
    store = open_store(parts, FrameStatistics(tokenizer, share), folder / "frames", description="encoding")
    left_out = tuple(f"{name}: {reason}" for name, reason in store.left_out.items())
    if len(store) == 0:
        raise AudioError(f"none of the clips can be encoded: {'; '.join(left_out[:3])}")
    return _join(tokenizer, store, left_out)


@dataclass(frozen=True)
class FrameStatistics:
    """Makes the codes of all frames of waveforms, statistics of their features, and a sample of the features.

    The codes are those of `Tokenizer.encode`, of recordings of any length.

    Args:
        tokenizer: on the device where it is to run.
        share: of the frames, whose features are sampled at random.
    """

    tokenizer: Tokenizer
    share: float

    @property
    def identity(self) -> Any:
        tokenizer = self.tokenizer
        about = {"layers": tokenizer.layers, "dtype": str(tokenizer.dtype), "share": self.share}
        return {"frames": tokenizer.fingerprint, **about}

    @property
    def forms(self) -> Mapping[str, Form]:
        """`codes`, `features` and `mels` have a row a frame; `left` and `moments` are of the clip, as in `_measure`."""
        sizes, layers, dim = self.tokenizer.codebook_sizes, len(self.tokenizer.layers), self.tokenizer.encoder.dim
        half, double = np.dtype(np.float16), np.dtype(np.float64)
        return {
            "codes": Form(code_type(max(sizes)), (len(sizes),)),
            "left": Form(double, (len(sizes),)),
            "moments": Form(double, (layers, dim + 2)),
            "features": Form(half, (layers, dim)),
            "mels": Form(half, (_MEL_BANDS,)),
        }

    def make(self, waveforms: Sequence[Tensor]) -> Iterator[tuple[int, Copies | AudioError]]:
        encoder, least = self.tokenizer.encoder, self.tokenizer.encoder.minimum_samples
        recordings = open_recordings(waveforms, sample_rate=None, target_sample_rate=encoder.sample_rate)
        long_enough = []
        for number, waveform in enumerate(waveforms):
            if len(waveform) < least:
                yield number, AudioError(f"too short: {len(waveform)} samples, a frame has {least}")
            else:
                long_enough.append((number, recordings[number]))
        for number, of_clip in groupby(read_features(encoder, long_enough, self.tokenizer.layers), itemgetter(0)):
            yield number, [self._measure(waveforms[number], of_clip)]

    def _measure(self, waveform: Tensor, windows: Iterable[tuple[int, Tensor | AudioError]]) -> dict[str, Array]:
        encoder = self.tokenizer.encoder
        generator = np.random.default_rng(zlib.crc32(waveform.numpy().tobytes()))
        chosen = generator.random(encoder.frame_count(len(waveform))) < self.share
        parts: list[dict[str, Array]] = []
        segmented = self.tokenizer.config.segmentation is not None
        of_segments = self.tokenizer.encode(waveform).codes[0].T if segmented else None
        first = 0
        for _, features in windows:
            if isinstance(features, AudioError):
                raise features
            last = first + features.shape[1]
            begin, end = encoder.framing.span(first, last)
            sampled = chosen[first:last]
            codes, left = self._quantize(features, None if of_segments is None else of_segments[first:last])
            parts.append(
                {
                    "codes": codes,
                    "left": left[None],
                    "moments": _moments(features)[None],
                    "features": features[:, torch.from_numpy(sampled)].transpose(0, 1).half().cpu().numpy(),
                    "mels": _mels(encoder, waveform[begin:end])[sampled].astype(np.float16),
                }
            )
            first = last
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return joined | {name: joined[name].sum(axis=0, keepdims=True) for name in ("left", "moments")}

    def _quantize(self, features: Tensor, of_segments: Tensor | None) -> tuple[Array, Array]:
        """Codes [frames, rows] of features [layers, frames, dim], and the squared distance that each row leaves.

        Codes of segments [frames, 1] are given, as they depend on more than these features.
        """
        codes, errors = [], []
        with exact_float32(features.device):
            for layer, left in zip(self.tokenizer.layers, features, strict=True):
                quantizer = self.tokenizer.network.quantizer(layer)
                codes.append(quantizer(left) if of_segments is None else of_segments)
                left = left.float()
                for stage, column in zip(quantizer.stages, codes[-1].unbind(1), strict=True):
                    left = left - stage.centroids[column]
                    errors.append(float(left.double().square().sum()))
        return torch.cat(codes, dim=1).cpu().numpy().astype(self.forms["codes"].dtype), np.array(errors)


def _moments(features: Tensor) -> npt.NDArray[np.float64]:
    """Sum of the features [layers, frames, dim], sum of their squares, and number of frames: [layers, dim + 2]."""
    points = features.double()
    squares = points.square().sum(dim=(1, 2))[:, None]
    counts = torch.full_like(squares, points.shape[1])
    moments: npt.NDArray[np.float64] = torch.cat([points.sum(1), squares, counts], dim=1).cpu().numpy()
    return moments


def _mels(encoder: Encoder, waveform: Tensor) -> npt.NDArray[np.float32]:
    """Log-mel spectra [frames, bands] of what the encoder sees for each frame of a waveform that ends with one."""
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
    mels: npt.NDArray[np.float32] = log_mel(spectra.abs().T, bank, floor=_MEL_FLOOR).numpy()
    return mels


def _join(tokenizer: Tokenizer, store: Store, left_out: tuple[str, ...]) -> Frames:
    arrays = {name: [store[name][clip] for clip in range(len(store))] for name in store.names}
    lengths = store["codes"].lengths
    moments = np.sum([clip[0] for clip in arrays["moments"]], axis=0)
    means, squares, count = moments[:, :-2] / moments[:, -1:], moments[:, -2], moments[:, -1]
    variances = np.repeat(squares - count * np.square(means).sum(axis=1), tokenizer.stages)
    left = np.sum([clip[0] for clip in arrays["left"]], axis=0)
    unexplained = left / np.maximum(variances, np.finfo(float).tiny)
    if tokenizer.config.segmentation is not None and tokenizer.config.segmentation.spherical:
        unexplained[:] = math.nan  # only the direction of these centroids means something
    return Frames(
        tokenizer.codebooks,
        tokenizer.frame_rate,
        np.concatenate(arrays["codes"]).T.astype(np.int64),
        lengths,
        np.array(store.numbers, np.int64),
        np.concatenate([frame_times(tokenizer.encoder.framing, length) for length in lengths.tolist()]),
        left_out,
        tuple(unexplained.tolist()),
        np.ascontiguousarray(np.concatenate(arrays["features"]).swapaxes(0, 1)),
        np.concatenate(arrays["mels"]),
    )
