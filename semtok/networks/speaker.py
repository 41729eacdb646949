"""Voices of speakers: the speaker encoder, and the conditioning of the vocoder. Zeros stand for no speaker."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.audio.lengths import frame_mask
from semtok.audio.mel import log_mel, mel_bank
from semtok.audio.recordings import Recording
from semtok.errors import AudioError, SpeakerError
from semtok.networks.config import SpeakerConfig
from semtok.networks.convnext import ConvNeXtBlock
from semtok.networks.precision import exact_float32

_WINDOW, _HOP, _BANDS = 512, 256, 64
_BLOCKS = 4


class SpeakerEncoder(nn.Module):
    """Waveforms -> embeddings of the voices: ConvNeXt blocks over a log-mel spectrogram, attentive statistics pooling.

    The embedding does not depend on loudness. Weighted mean and deviation are pooled over time (Okabe et al., 2018).

    Args:
        dim: of the embeddings.
        channels: of the blocks; 128 make half a million parameters.
        sample_rate: of the waveforms, Hz.
    """

    minimum_samples = _WINDOW

    def __init__(self, dim: int, *, channels: int, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.conv_pre = nn.Conv1d(_BANDS, channels, 5, padding=2)
        self.norm_pre = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, 3 * channels, 1 / _BLOCKS) for _ in range(_BLOCKS))
        self.norm_post = nn.LayerNorm(channels)
        self.score = nn.Linear(channels, 1)
        self.project = nn.Linear(2 * channels, dim)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Waveforms -> embeddings, which do not depend on padding.

        Args:
            waveforms: float32 [batch, samples], samples >= `minimum_samples`.
            lengths: samples of each waveform, int64 [batch], at least `minimum_samples`; all samples by default.

        Returns:
            float32 [batch, dim] of unit length; zeros for digital silence.
        """
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        waveforms = waveforms * frame_mask(lengths, waveforms.shape[1])
        loudness = (waveforms.square().sum(1) / lengths).sqrt()[:, None]
        spectrogram = self._log_mel(waveforms / loudness.clamp(min=1e-5)).to(self.score.weight.dtype)
        valid = frame_mask((lengths - _WINDOW) // _HOP + 1, spectrogram.shape[1])[:, :, None]
        x = self.norm_pre(self.conv_pre((spectrogram * valid).transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x * valid)
        x = self.norm_post(x)
        weights = self.score(x).masked_fill(~valid, -torch.inf).softmax(dim=1)
        mean = (weights * x).sum(dim=1)
        deviation = ((weights * (x - mean[:, None]).square()).sum(dim=1) + 1e-5).sqrt()
        embedding = self.project(torch.cat([mean, deviation], dim=1)).float()
        return F.normalize(embedding, dim=1) * (loudness > 0)

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        """[batch, samples] -> [batch, frames, bands]; no window reaches beyond the samples."""
        # Computed in each call, as buffers would be rounded with a model in half precision.
        window = torch.hann_window(_WINDOW, device=waveforms.device)
        spectrum = torch.stft(waveforms, _WINDOW, _HOP, window=window, center=False, return_complex=True)
        # To amplitudes, which half precision can hold.
        magnitude = spectrum.abs().transpose(1, 2) / window.sum()
        bank = mel_bank(_WINDOW, _BANDS, self.sample_rate, scale="htk", norm="sum")
        return log_mel(magnitude, bank.to(waveforms.device), floor=1e-5)


class SpeakerConditioning(nn.Module):
    """Adds a linear map of the speaker's embedding to every fused vector.

    Published vocoders concatenate vector and embedding; in front of a convolution, a sum with a linear map is the same.
    The map starts at zero, so that a vocoder trained without speakers can be trained further with speakers.

    Args:
        dim: of the embeddings.
        width: of the fused vectors.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        # About as long as the embeddings of speakers, which are of length 1.
        self.absent = nn.Parameter(nn.init.normal_(torch.empty(dim), std=dim**-0.5))
        self.map = nn.Linear(dim, width, bias=False)
        nn.init.zeros_(self.map.weight)

    def forward(self, fused: Tensor, speaker: Tensor | None) -> Tensor:
        """Fused vectors [batch, frames, width], and embeddings [batch, dim] of any norm; None for none."""
        if speaker is None:
            voice = self.absent[None]
        else:
            given = speaker.any(dim=1, keepdim=True)
            voice = torch.where(given, F.normalize(speaker.float(), dim=1), self.absent)
        conditioned: Tensor = fused + self.map(voice.to(self.map.weight.dtype))[:, None]
        return conditioned


@torch.no_grad()
def embed_speakers(encoder: SpeakerEncoder, recordings: Iterable[Recording]) -> Tensor:
    """Embeddings float32 [recordings, dim]. Each recording goes through by itself, without padding.

    Raises:
        AudioError: a recording cannot be read or is too short.
    """
    device = encoder.project.weight.device
    with exact_float32(device):
        return torch.cat([encoder(_load(recording, encoder).to(device)[None]) for recording in recordings])


def _load(recording: Recording, encoder: SpeakerEncoder) -> Tensor:
    waveform = recording.load()
    if len(waveform) < encoder.minimum_samples:
        raise AudioError(
            f"{recording.name} has {len(waveform)} samples at {encoder.sample_rate} Hz: a voice needs at least "
            f"{encoder.minimum_samples}, and is known well from some seconds"
        )
    return waveform


def check_speaker(speaker: Tensor | None, config: SpeakerConfig | None, batch: int) -> Tensor | None:
    """The argument `speaker` of `Vocoder.decode`, [dim] or [batch, dim], as [batch, dim].

    Raises:
        SpeakerError: the vocoder takes no speaker, or `speaker` is no such tensor of finite numbers.
    """
    if speaker is None:
        return None
    if config is None:
        raise SpeakerError(
            "this vocoder cannot be told whose voice: leave speaker out, or use one trained with speaker conditioning"
        )
    expected = f"[{config.dim}], for all, or [{batch}, {config.dim}]"
    if not isinstance(speaker, Tensor) or not speaker.is_floating_point():
        arrived = f"{speaker.dtype} tensor" if isinstance(speaker, Tensor) else type(speaker).__name__
        raise SpeakerError(f"speaker must be a floating-point tensor {expected}, got a {arrived}")
    if tuple(speaker.shape) not in {(config.dim,), (batch, config.dim)}:
        raise SpeakerError(f"speaker must have shape {expected}, got {list(speaker.shape)}")
    if not speaker.isfinite().all():
        raise SpeakerError("speaker holds NaN or Inf: compute the embedding anew")
    return speaker.expand(batch, config.dim)
