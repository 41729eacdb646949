"""What rows learn from: each loss is a small network on the vectors of a row, which is not part of the tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.audio.lengths import Framing, frame_mask
from semtok.audio.mel import log_mel, mel_bank
from semtok.downstream.pooling import PoolingConfig, StatisticsConfig, build_pooling
from semtok.downstream.recognizer import LSTMConfig, RecognizerConfig, RecognizerHead
from semtok.downstream.text import TextCodec
from semtok.errors import ConfigError
from semtok.speech.clip import Clip
from semtok.training.tokens.config import RowConfig

logger = logging.getLogger(__name__)

TEXT = "text"
_MEL_WINDOW, _MEL_BANDS, _MEL_FLOOR = 1024, 80, 1e-3


class Batch(NamedTuple):
    """Clips, and what is heard in them.

    Args:
        clips: numbers of the clips.
        waveforms: float32 [batch, samples].
        features: normalised, of all layers, [layers, batch, frames, dim].
        lengths: frames of each clip, int64 [batch].
    """

    clips: Sequence[int]
    waveforms: Tensor
    features: Tensor
    lengths: Tensor


class RowLoss(nn.Module):
    """Vectors [batch, frames, dim] of a row, 0 past each clip's frames, and their batch -> a loss, a number."""

    def nothing(self, vectors: Tensor) -> Tensor:
        """The loss of a batch that has nothing to learn from: 0, of all parameters, as several processes need it."""
        return torch.stack([vectors.sum(), *(each.sum() for each in self.parameters())]).sum() * 0


class Texts(RowLoss):
    """CTC on texts, by a bidirectional LSTM; clips without a text count for nothing."""

    def __init__(self, clips: Sequence[Clip], training: Sequence[int], dim: int, hidden: int) -> None:
        super().__init__()
        texts = {clip: text for clip in training if (text := clips[clip].label(TEXT).strip())}
        if not texts:
            raise ConfigError(_missing("texts", TEXT, clips))
        _warn_of_missing(len(training) - len(texts), TEXT)
        codec = TextCodec.fit(texts.values())
        known = {number: clips[number].label(TEXT) for number in range(len(clips))}
        self.labels = {
            number: codec.encode(text)
            for number, text in known.items()
            if codec.normalize(text) and not codec.unknown(text)
        }
        self.head = RecognizerHead(RecognizerConfig(lstm=LSTMConfig(hidden, 1)), dim, codec.size)

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        rows = [row for row, clip in enumerate(batch.clips) if clip in self.labels]
        if not rows:
            return self.nothing(vectors)
        lengths = batch.lengths[rows]
        output = self.head(vectors[rows], lengths)
        labels = [self.labels[batch.clips[row]] for row in rows]
        counts = torch.tensor([len(one) for one in labels], device=output.device)
        joined = torch.tensor([label for one in labels for label in one], device=output.device)
        return F.ctc_loss(output.transpose(0, 1), joined, lengths, counts, zero_infinity=True)


class Labels(RowLoss):
    """Cross-entropy of a column, from mean and deviation of the vectors of a clip.

    Args:
        hide: whether the row is to hide the label: the network learns it, and the row the opposite.
    """

    def __init__(
        self, column: str, clips: Sequence[Clip], training: Sequence[int], dim: int, hidden: int, *, hide: bool
    ) -> None:
        super().__init__()
        names = sorted({name for clip in training if (name := clips[clip].label(column))})
        if len(names) < 2:
            raise ConfigError(_missing(f"labels.{column}", column, clips, least=2))
        _warn_of_missing(sum(not clips[clip].label(column) for clip in training), column)
        numbers = {name: number for number, name in enumerate(names)}
        self.labels = [numbers.get(clip.label(column), -1) for clip in clips]
        self.hide = hide
        self.pooling = build_pooling(PoolingConfig(statistics=StatisticsConfig()), hidden)
        self.input = nn.Linear(dim, hidden)
        self.output = nn.Linear(self.pooling.dim, len(names))

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        labels = torch.tensor([self.labels[clip] for clip in batch.clips], device=vectors.device)
        labelled = labels >= 0
        if not bool(labelled.any()):
            return self.nothing(vectors)
        if self.hide:
            vectors = _Reversed.apply(vectors)  # type: ignore[no-untyped-call]
        pooled = self.pooling(self.input(vectors).relu(), batch.lengths)
        return F.cross_entropy(self.output(pooled)[labelled], labels[labelled])


class Features(RowLoss):
    """Mean squared error of the normalised features of all layers, guessed by a linear map."""

    def __init__(self, layers: int, dim: int) -> None:
        super().__init__()
        self.output = nn.Linear(dim, layers * dim)

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        valid = frame_mask(batch.lengths, vectors.shape[1])
        wanted = batch.features[:, valid].detach()
        guessed = self.output(vectors[valid]).unflatten(1, (len(wanted), -1)).transpose(0, 1)
        return F.mse_loss(guessed, wanted)


class Mels(RowLoss):
    """Mean absolute error of the log-mel spectrum around each frame, guessed from five frames."""

    bank: Tensor

    def __init__(self, framing: Framing, dim: int, hidden: int) -> None:
        super().__init__()
        self.framing = framing
        self.register_buffer("bank", mel_bank(_MEL_WINDOW, _MEL_BANDS, framing.sample_rate), persistent=False)
        self.body = nn.Sequential(nn.Conv1d(dim, hidden, 5, padding=2), nn.GELU(), nn.Conv1d(hidden, _MEL_BANDS, 1))

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        valid = frame_mask(batch.lengths, vectors.shape[1])
        guessed = self.body(vectors.transpose(1, 2)).transpose(1, 2)
        return F.l1_loss(guessed[valid], self.spectrum(batch.waveforms, vectors.shape[1])[valid])

    @torch.no_grad()
    def spectrum(self, waveforms: Tensor, frames: int) -> Tensor:
        """Log-mel spectra [batch, frames, bands] of waveforms [batch, samples], around the centre of each frame."""
        centre, hop = self.framing.minimum_samples // 2, self.framing.hop_length
        padded = F.pad(waveforms[:, centre:], (0, _MEL_WINDOW))
        window = torch.hann_window(_MEL_WINDOW, device=waveforms.device)
        magnitudes = torch.stft(padded, _MEL_WINDOW, hop, window=window, return_complex=True).abs()
        return log_mel(magnitudes.transpose(1, 2)[:, :frames], self.bank, floor=_MEL_FLOOR)


def losses_of(
    row: RowConfig,
    clips: Sequence[Clip],
    training: Sequence[int],
    *,
    layers: int,
    dim: int,
    hidden: int,
    framing: Framing,
) -> tuple[nn.ModuleDict, dict[str, float]]:
    """The losses of a row but for `use`, by name, and their weights.

    Raises:
        ConfigError: no training clip has a text, or fewer than two labels of a column are there.
    """
    losses: dict[str, tuple[float, RowLoss]] = {}
    if row.texts:
        losses["texts"] = row.texts, Texts(clips, training, dim, hidden)
    if row.features:
        losses["features"] = row.features, Features(layers, dim)
    if row.mels:
        losses["mels"] = row.mels, Mels(framing, dim, hidden)
    for column, weight in row.labels.items():
        if weight:
            losses[f"label_{column}"] = abs(weight), Labels(column, clips, training, dim, hidden, hide=weight < 0)
    modules = nn.ModuleDict({name: loss for name, (_, loss) in losses.items()})
    return modules, {name: weight for name, (weight, _) in losses.items()}


class _Reversed(torch.autograd.Function):
    """The same forwards; backwards the gradient with the other sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def _missing(loss: str, column: str, clips: Sequence[Clip], least: int = 1) -> str:
    columns = sorted({name for clip in clips for name in clip.columns})
    return (
        f"the loss {loss} needs clips with {least} different values at least in the column {column!r}, and the data "
        f"have the columns {columns}: give a manifest with it, or leave the loss out"
    )


def _warn_of_missing(count: int, column: str) -> None:
    if count:
        logger.warning("%d clips have nothing in the column %r, and count for nothing in its loss", count, column)
