"""Encodes a recording, decodes it from several subsets of the layers, and draws what came out.

    python examples/demo.py [AUDIO] [--output demo]

Writes the wavs and demo.png, the spectrograms side by side over the tokens of every layer. Needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from semtok import Tokenizer, Tokens, Vocoder, load_audio, save_audio

RECORDING = Path(__file__).parent / "data" / "speech.flac"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", nargs="?", type=Path, default=RECORDING)
    parser.add_argument("--output", type=Path, default=Path("demo"))
    options = parser.parse_args()

    tokens = Tokenizer.from_pretrained("tiny").encode(options.audio)
    vocoder = Vocoder.from_pretrained("tiny")
    lowest, highest = min(tokens.layers), max(tokens.layers)
    waveforms = {
        "original": load_audio(options.audio, sample_rate=vocoder.sample_rate),
        "all layers": vocoder.decode(tokens)[0],
        f"layer {lowest}": vocoder.decode(tokens, layers=[lowest])[0],
        f"layer {highest}": vocoder.decode(tokens, layers=[highest])[0],
        "layers 1, 3, 7": vocoder.decode(tokens, layers=[1, 3, 7])[0],
    }

    options.output.mkdir(parents=True, exist_ok=True)
    for name, waveform in waveforms.items():
        path = options.output / f"{name.replace(', ', '-').replace(' ', '_')}.wav"
        save_audio(path, waveform, sample_rate=vocoder.sample_rate)
        print(path)
    path = options.output / "demo.png"
    draw(waveforms, tokens, vocoder.sample_rate).savefig(path)
    print(path)


def draw(waveforms: dict[str, Tensor], tokens: Tokens, sample_rate: int) -> Figure:
    figure = Figure(figsize=(15, 7.5), dpi=120, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
    above.suptitle("Spectrograms: the original, and decoded from the tokens of some layers", fontsize=13)
    for axes, (name, waveform) in zip(above.subplots(1, len(waveforms), sharey=True), waveforms.items(), strict=True):
        image = draw_spectrogram(axes, waveform, sample_rate)
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("time (s)")
    above.axes[0].set_ylabel("frequency (kHz)")
    above.colorbar(image, ax=above.axes, label="level (dB)", pad=0.01)

    below.suptitle(f"Tokens: {tokens.frame_rate:g} frames a second, {tokens.bitrate:.0f} bit/s in all", fontsize=13)
    axes = below.subplots()
    image = axes.imshow(
        tokens.codes[0].cpu().numpy(),
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap="turbo",
        vmin=0,
        extent=(0, float(tokens.durations[0]), -0.5, len(tokens.names) - 0.5),
    )
    axes.set_yticks(range(len(tokens.names)), tokens.names)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("encoder layer . stage")
    below.colorbar(image, ax=axes, label="code (an arbitrary number)", pad=0.01)
    return figure


def draw_spectrogram(axes: Axes, waveform: Tensor, sample_rate: int) -> AxesImage:
    window = torch.hann_window(512)
    spectrogram = torch.stft(waveform.cpu(), 512, 128, window=window, return_complex=True).abs()
    level = 20 * (spectrogram / window.sum() * 2).clamp(min=1e-5).log10()
    extent = (0, len(waveform) / sample_rate, 0, sample_rate / 2000)
    return axes.imshow(level.numpy(), aspect="auto", origin="lower", cmap="magma", extent=extent, vmin=-90, vmax=-20)


if __name__ == "__main__":
    main()
