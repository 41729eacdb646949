"""What comes back from sets of layers, as sounds that a page can hold."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from semtok.audio.disturbances import Waveform
from semtok.audio.io import save_audio
from semtok.codebooks.layers import Layer
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder

_CLIPS = 3
_RMS = 0.06


def sounds_of(
    tokenizer: Tokenizer, vocoder: Vocoder, waveforms: Sequence[Waveform], subsets: Sequence[tuple[Layer, ...]]
) -> list[tuple[str, list[str]]]:
    """Titles, and of three of the waveforms [samples] data URLs of Opus: the original, and decoded from each set."""
    places = np.unique(np.linspace(0, len(waveforms) - 1, min(_CLIPS, len(waveforms))).astype(int))
    clips = [waveforms[place] for place in places.tolist()]
    rows = [("original", [_url(clip, tokenizer.sample_rate) for clip in clips])]
    for subset in subsets:
        decoded = [vocoder.decode(tokenizer.encode(clip, layers=subset))[0].cpu() for clip in clips]
        title = f"layer{'s' if len(subset) > 1 else ''} {', '.join(map(str, subset))}"
        rows.append((title, [_url(waveform, vocoder.sample_rate) for waveform in decoded]))
    return rows


def _url(waveform: Waveform | Tensor, sample_rate: int) -> str:
    """At one loudness, as louder is taken for better."""
    samples = np.asarray(waveform, np.float32)
    gain = min(
        _RMS / max(float(np.sqrt(np.square(samples).mean())), 1e-5), 0.95 / max(float(np.abs(samples).max()), 1e-5)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.opus"
        save_audio(path, gain * samples, sample_rate=sample_rate)
        return f"data:audio/ogg;base64,{base64.b64encode(path.read_bytes()).decode()}"
