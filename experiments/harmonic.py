"""A vocoder whose phases follow a pitch that it predicts, against one that predicts all phases alone.

    python experiments/harmonic.py --train FOLDER --test FOLDER [--encoder CHECKPOINT]

The harmonic source of neural source-filter models (Wang et al., 2019; HiFTNet, Li et al., 2023), as an inverse-STFT
generator can have it: a small network reads pitch and voicing off the fused features, and each bin of a voiced frame
starts from the phase of its nearest harmonic. Pitch is learnt from the recordings' own autocorrelation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import COMMON, Setting, parse_options, read_setting
from laboratory import Laboratory
from tables import write_results
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.networks.generators.istft import ISTFTConfig, ISTFTGenerator
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.training.vocoder.trainer import VocoderTrainer

LOWEST, HIGHEST = 60, 400
"""Pitch in Hz."""
REFERENCE = 100
"""Hz; pitch is predicted in octaves above it."""
VOICED = 0.5
"""Autocorrelation, relative to that at no lag, from which on a frame is voiced."""


@dataclass(frozen=True, kw_only=True)
class HarmonicSetting(Setting):
    """Vocoders of so many steps."""

    steps: int


class HarmonicGenerator(ISTFTGenerator):
    """An `ISTFTGenerator` whose phases are relative to those of the nearest harmonic of a predicted pitch."""

    def __init__(self, dim: int, config: ISTFTConfig, sample_rate: int) -> None:
        super().__init__(dim + 2, config)
        self.sample_rate = sample_rate
        self.pitch = nn.Sequential(nn.Conv1d(dim, 64, 7, padding=3), nn.GELU(), nn.Conv1d(64, 2, 1))

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Octaves above `REFERENCE` and logit of voicing, float32 [batch, frames], of features [batch, frames, dim]."""
        with torch.autocast(features.device.type, enabled=False):
            octaves, voicing = self.pitch(features.float().transpose(1, 2)).unbind(1)
        return octaves, voicing

    def spectra(self, features: Tensor) -> tuple[Tensor, Tensor]:
        # without a gradient: the spectral loss would pull at a pitch that it cannot move to a neighbouring octave
        with torch.no_grad():
            octaves, voicing = self.predict(features)
            voiced = voicing > 0
            octaves = torch.where(
                voiced, octaves.clamp(math.log2(LOWEST / REFERENCE), math.log2(HIGHEST / REFERENCE)), 0
            )
            phases = self.harmonic_phases(REFERENCE * 2**octaves, voiced)
        known = torch.stack([octaves, voiced.float()], dim=-1).to(features.dtype)
        magnitude, phase = super().spectra(torch.cat([features, known], dim=-1))
        return magnitude, phase + phases

    def harmonic_phases(self, pitch: Tensor, voiced: Tensor) -> Tensor:
        """Of pitch in Hz [batch, frames], for each window [batch, spectra, n_fft / 2 + 1]; zero where not voiced."""
        windows = self.hop_length // self.stft_hop_length
        pitch = pitch.repeat_interleave(windows, dim=1)
        turns = (pitch.double() * self.stft_hop_length / self.sample_rate).cumsum(1).frac().float()
        bins = torch.arange(self.n_fft // 2 + 1, device=pitch.device)
        harmonics = (bins * self.sample_rate / self.n_fft / pitch[..., None]).round()
        # a window's spectrum is told from its first sample on, the phase of the pitch in its middle
        phases = 2 * math.pi * (harmonics * turns[..., None]).frac() - math.pi * (bins % 2)
        return phases * voiced.repeat_interleave(windows, dim=1)[..., None]


class WithHarmonics(VocoderTrainer):
    """Has a `HarmonicGenerator` in place of the inverse-STFT generator, and teaches it the pitch beside the rest."""

    def __init__(self, *arguments: Any) -> None:
        config, run, tokenizer, tokens, network, description = arguments
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network.generator = HarmonicGenerator(
                description.embedding_dim, description.generator.istft, description.sample_rate
            )
        super().__init__(config, run, tokenizer, tokens, network, description)
        self.pitch_optimizer = torch.optim.AdamW(network.generator.pitch.parameters(), 1e-3)

    def _learn(
        self, step: int, codes: Tensor, waveforms: Tensor, present: Tensor, voices: Tensor | None = None
    ) -> dict[str, Tensor]:
        numbers = super()._learn(step, codes, waveforms, present, voices)
        network: ScalableVocoder = self.run.accelerator.unwrap_model(self.network)
        assert isinstance(network.generator, HarmonicGenerator)
        with torch.no_grad():
            fused, _ = network.selector(codes, present=present)
            octaves, voiced = find_pitch(waveforms, network.generator.hop_length, network.generator.sample_rate)
        found, voicing = network.generator.predict(fused)
        numbers["pitch"] = F.l1_loss(found[voiced], octaves[voiced]) if voiced.any() else found.sum() * 0
        numbers["voicing"] = F.binary_cross_entropy_with_logits(voicing, voiced.float())
        (numbers["pitch"] + numbers["voicing"]).backward()
        self.pitch_optimizer.step()
        self.pitch_optimizer.zero_grad()
        return numbers


def find_pitch(waveforms: Tensor, hop_length: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Octaves above `REFERENCE`, and whether voiced, [batch, frames], by the autocorrelation around each frame."""
    size = 3 * hop_length
    padded = F.pad(waveforms, (hop_length, hop_length))
    frames = padded.unfold(1, size, hop_length) * torch.hann_window(size, device=waveforms.device)
    power = torch.fft.rfft(frames, 2 * size).abs().square()
    # what a window's own shape does to long lags is divided out
    window = torch.fft.rfft(torch.hann_window(size, device=waveforms.device), 2 * size).abs().square()
    shortest, longest = sample_rate // HIGHEST, sample_rate // LOWEST
    correlation, of_window = (torch.fft.irfft(spectrum)[..., : longest + 1] for spectrum in (power, window))
    normalized = correlation / correlation[..., :1].clamp(min=1e-6) * of_window[0] / of_window
    candidates = normalized[..., shortest:]
    best = candidates.amax(-1)
    # of lags that are multiples of a period the shortest that is about as good, at its own peak
    good = candidates >= 0.9 * best[..., None]
    first = good.float().argmax(-1)
    near = torch.arange(candidates.shape[-1], device=waveforms.device) - first[..., None]
    peak = torch.where((near >= 0) & (near < shortest // 2), candidates, -1).argmax(-1)
    return torch.log2(sample_rate / (peak + shortest) / REFERENCE), best > VOICED


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=HarmonicSetting, quick=options.quick)
    laboratory = Laboratory(options, setting)
    alone = {"steps": setting.steps}
    results = laboratory.compare({"phases alone": alone, "phases of a pitch": alone | {"trainer": WithHarmonics}})
    facts = f"Vocoders of {setting.steps} steps. {laboratory.facts()}"
    write_results(options.output, "harmonic", results, axis="decoded from", series="generator", facts=facts)


if __name__ == "__main__":
    main()
