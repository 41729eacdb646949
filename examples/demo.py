"""Encodes a recording, decodes it from several subsets of the layers, and draws what came out.

    python examples/demo.py [AUDIO] [--output demo]

Writes the wavs and demo.png, their spectrograms side by side at one loudness. Needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from semtok import Tokenizer, Vocoder, load_audio, save_audio

RECORDING = Path(__file__).parent / "data" / "speech.flac"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", nargs="?", type=Path, default=RECORDING)
    parser.add_argument("--output", type=Path, default=Path("demo"))
    options = parser.parse_args()

    tokens = Tokenizer.from_pretrained("tiny").encode(options.audio)
    vocoder = Vocoder.from_pretrained("tiny")
    lowest, highest = min(tokens.layers), max(tokens.layers)
    kept = {"all layers": tokens.layers, f"layer {lowest}": [lowest], f"layer {highest}": [highest]}
    bitrates = {name: tokens.select(layers).bitrate for name, layers in kept.items()}
    waveforms = {"original": load_audio(options.audio, sample_rate=vocoder.sample_rate)}
    waveforms |= {name: vocoder.decode(tokens, layers=layers)[0] for name, layers in kept.items()}

    options.output.mkdir(parents=True, exist_ok=True)
    for name, waveform in waveforms.items():
        path = options.output / f"{name.replace(' ', '_')}.wav"
        save_audio(path, waveform, sample_rate=vocoder.sample_rate)
        print(path)
    path = options.output / "demo.png"
    draw(waveforms, bitrates, vocoder.sample_rate).savefig(path)
    print(path)


def draw(waveforms: dict[str, Tensor], bitrates: dict[str, float], sample_rate: int) -> Figure:
    figure = Figure(figsize=(12, 3.6), dpi=100, layout="constrained")
    loudness = waveforms["original"].square().mean().sqrt()
    for axes, (name, waveform) in zip(figure.subplots(1, len(waveforms), sharey=True), waveforms.items(), strict=True):
        draw_spectrogram(axes, waveform * loudness / waveform.square().mean().sqrt(), sample_rate)
        bits = f"{bitrates[name] / 1000:.1f} kbit/s" if name in bitrates else "as it was recorded"
        axes.set_title(f"{name}\n{bits}", fontsize=14)
        axes.tick_params(labelsize=12)
    figure.supxlabel("time (s)", fontsize=13)
    figure.axes[0].set_ylabel("frequency (kHz)", fontsize=13)
    return figure


def draw_spectrogram(axes: Axes, waveform: Tensor, sample_rate: int) -> None:
    window = torch.hann_window(512)
    spectrogram = torch.stft(waveform.cpu(), 512, 128, window=window, return_complex=True).abs()
    level = 20 * (spectrogram / window.sum() * 2).clamp(min=1e-5).log10()
    extent = (0, len(waveform) / sample_rate, 0, sample_rate / 2000)
    axes.imshow(level.numpy(), aspect="auto", origin="lower", cmap="magma", extent=extent, vmin=-90, vmax=-20)


if __name__ == "__main__":
    main()
