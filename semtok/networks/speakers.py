"""Embeddings of speakers for a vocoder: from recordings, and as `Vocoder.decode` is given them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semtok.audio.io import AudioArray
from semtok.audio.recordings import AudioInput, Recording, open_recordings
from semtok.errors import AudioError, SpeakerError
from semtok.networks.config import SpeakerConfig
from semtok.networks.precision import exact_float32
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.networks.speaker import SpeakerEncoder


@torch.no_grad()
def embed_speakers(
    network: ScalableVocoder,
    audio: AudioInput,
    sample_rate: int | None,
    lengths: Sequence[int] | AudioArray | None,
    target_sample_rate: int,
) -> Tensor:
    """`Vocoder.speaker`: each recording by itself, so that its embedding is the same alone and beside any others."""
    encoder = network.speaker_encoder
    if encoder is None:
        takes = "cannot be told whose voice" if network.speaker is None else "takes embeddings that are made elsewhere"
        raise SpeakerError(f"this vocoder has no speaker encoder: it {takes}")
    recordings = open_recordings(audio, sample_rate=sample_rate, target_sample_rate=target_sample_rate, lengths=lengths)
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
    """What `Vocoder.decode` was given as [dim] or [batch, dim], as [batch, dim].

    Raises:
        SpeakerError: the vocoder takes no speaker, or it is no such tensor of finite numbers.
    """
    if speaker is None:
        return None
    if config is None:
        raise SpeakerError(
            "this vocoder cannot be told whose voice: leave speaker out, or use one trained with speaker conditioning"
        )
    expected = f"[{config.dim}], for all, or [{batch}, {config.dim}]"
    if not isinstance(speaker, Tensor) or not speaker.is_floating_point():
        found = f"{speaker.dtype} tensor" if isinstance(speaker, Tensor) else type(speaker).__name__
        raise SpeakerError(f"speaker must be a floating-point tensor {expected}, got a {found}")
    if tuple(speaker.shape) not in {(config.dim,), (batch, config.dim)}:
        raise SpeakerError(f"speaker must have shape {expected}, got {list(speaker.shape)}")
    if not speaker.isfinite().all():
        raise SpeakerError("speaker holds NaN or Inf: compute the embedding anew")
    return speaker.expand(batch, config.dim)
