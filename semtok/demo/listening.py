"""What the page lets one hear and see of a recording, whatever the page: decoding, weights, margins, bitrates."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semtok.analysis.codes import code_statistics
from semtok.audio.recordings import FileRecording
from semtok.codebooks.layers import Layer
from semtok.tokenizer import Tokenizer
from semtok.tokens import Tokens
from semtok.vocoder import Vocoder

_CONTEXT_SECONDS = 5
_WEIGHTS_AT_A_TIME = 3000


@dataclass(frozen=True)
class Excerpt:
    """The part of a recording that pictures show: frames `start` ... `stop` - 1 of `frame_rate` a second."""

    start: int
    stop: int
    frame_rate: float

    @property
    def seconds(self) -> tuple[float, float]:
        return self.start / self.frame_rate, self.stop / self.frame_rate


def excerpt(tokens: Tokens, start_seconds: float, seconds: float) -> Excerpt:
    """So many seconds of one utterance from `start_seconds`, or the last ones where it ends before."""
    frames, length = int(tokens.lengths), round(seconds * tokens.frame_rate)
    start = max(0, min(round(start_seconds * tokens.frame_rate), frames - length))
    return Excerpt(start, min(start + length, frames), tokens.frame_rate)


def keep_stages(vocoder: Vocoder, stages: int) -> Vocoder:
    """A vocoder that hears the first `stages` residual stages of each layer; the vocoder itself where it has no more.

    What a layer says is the sum of its stages' embeddings; those of later stages become zero. The vocoder learnt with
    all of them, so this shows what the later ones add, not what a vocoder of fewer stages could do.
    """
    if max(vocoder.codebooks.stages) <= stages:
        return vocoder
    network = copy.deepcopy(vocoder.network)
    for rows in vocoder.codebooks.rows.values():
        for row in range(rows.start + stages, rows.stop):
            torch.nn.init.zeros_(network.selector.embeddings[row].weight)  # type: ignore[arg-type]
    return Vocoder(vocoder.config, network)


@torch.inference_mode()
def layer_weights(vocoder: Vocoder, tokens: Tokens, layers: Sequence[Layer]) -> Tensor:
    """How much of each frame the vocoder takes from which of these layers: float32 [layers, frames], on the CPU.

    The weights of a frame sum to 1 over layers, or less where the vocoder has an embedding for absent ones.
    """
    codes = tokens.select(layers).codes.to(vocoder.device)
    positions = [vocoder.layers.index(layer) for layer in layers]
    # the weights of a frame depend on that frame alone
    pieces = [vocoder.network.selector(piece, positions)[1][0] for piece in codes.split(_WEIGHTS_AT_A_TIME, dim=2)]
    return torch.cat(pieces, dim=1).float().cpu()


def read_part(path: Path, sample_rate: int, start: float, stop: float | None) -> Tensor:
    """Seconds `start` to `stop` of a file, or to its end: float32 [samples] at `sample_rate`; `AudioError` as ever."""
    duration = None if stop is None else stop - start
    return FileRecording(path, str(path), sample_rate, start=start, duration=duration).load()


def margins(tokenizer: Tokenizer, path: Path, part: Excerpt, frames: int) -> Tensor:
    """How decided each token of an excerpt is, of a recording of so many frames: float64 [rows, frames], in [0, 1].

    See `Tokenizer.margins`. Of a recording that goes on, some seconds on either side are heard along with it; an
    encoder that normalises its input then does so by these seconds, so that the margins are close, not exact.
    """
    context = round(_CONTEXT_SECONDS * part.frame_rate)
    first, last = max(0, part.start - context), part.stop + context
    stop = None if last >= frames else last / part.frame_rate
    waveform = read_part(path, tokenizer.sample_rate, first / part.frame_rate, stop)
    of_all = tokenizer.margins(tokenizer.features(waveform))[0]
    return of_all[:, part.start - first : part.stop - first]


@dataclass(frozen=True)
class RowBits:
    """Bit/s of a row of codes: plain, and after ideal entropy coding by its frequencies in the recording.

    Args:
        name: of the row, as in `Tokens.names`.
        codebook_size: codes there are, of which `used` occur.
        is_decoded: whether the vocoder hears the row.
    """

    name: str
    codebook_size: int
    used: int
    plain: float
    coded: float
    is_decoded: bool


def row_bits(tokens: Tokens, layers: Sequence[Layer], stages: int) -> list[RowBits]:
    """Of each row of one utterance's tokens; the first `stages` rows of each of `layers` are decoded."""
    decoded = decoded_rows(tokens, layers, stages)
    bits = []
    for row, (name, size) in enumerate(zip(tokens.names, tokens.codebook_sizes, strict=True)):
        codes = tokens.codes[0, row].cpu().numpy()
        statistics = code_statistics(codes, [len(codes)], size, tokens.frame_rate)
        used = len(np.unique(codes))
        bits.append(RowBits(name, size, used, statistics.bitrate, statistics.entropy_bitrate, row in decoded))
    return bits


def decoded_rows(tokens: Tokens, layers: Sequence[Layer], stages: int) -> set[int]:
    """Rows of the first `stages` stages of each of `layers`."""
    rows = tokens.codebooks.rows
    return {row for layer in layers for row in range(rows[layer].start, rows[layer].stop)[:stages]}
