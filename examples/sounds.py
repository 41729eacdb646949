"""Recordings and what comes back of them from several sets of layers, and a table of players for a web page.

    python examples/sounds.py [AUDIO ...] [--output sounds] [--page PAGE]

The sets are all layers, each layer alone, and the lowest with the deepest. With --page the table in that Markdown file,
between the two comments that say so, is replaced. `make docs-demo` makes docs/sounds.md this way.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from torch import Tensor

from semtok import Tokenizer, Vocoder, load_audio, save_audio

RECORDING = Path(__file__).parent / "data" / "speech.flac"
RMS = 0.06
BEGIN, END = "<!-- begin: examples/sounds.py -->", "<!-- end: examples/sounds.py -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", nargs="*", type=Path, default=[RECORDING])
    parser.add_argument("--output", type=Path, default=Path("sounds"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    tokenizer, vocoder = Tokenizer.from_pretrained("tiny"), Vocoder.from_pretrained("tiny")
    layers = tokenizer.layers
    subsets = list(dict.fromkeys([layers, (min(layers), max(layers)), *((layer,) for layer in layers)]))
    tokens = tokenizer.encode(options.audio)

    def save(name: str, waveform: Tensor) -> Path:
        """At one loudness, as louder is heard as better; less where a peak would be cut."""
        path = options.output / f"{name}.ogg"
        gain = min(RMS / float(waveform.square().mean().sqrt()), 0.95 / float(waveform.abs().max()))
        save_audio(path, gain * waveform, sample_rate=vocoder.sample_rate)
        return path

    names = [path.stem for path in options.audio]
    originals = [load_audio(path, sample_rate=vocoder.sample_rate) for path in options.audio]
    rows = [("original", "", [save(f"{name}_original", sound) for name, sound in zip(names, originals, strict=True)])]
    for subset in subsets:
        waveforms = vocoder.decode(tokens, layers=subset)
        samples = (tokens.lengths * vocoder.hop_length).tolist()
        paths = [
            save(f"{name}_layers_{'-'.join(map(str, subset))}", waveform[:length])
            for name, waveform, length in zip(names, waveforms, samples, strict=True)
        ]
        title = f"layer{'s' * (len(subset) > 1)} {', '.join(map(str, subset))}"
        rows.append((title, f"{tokens.select(subset).bitrate / 1000:.2f}", paths))

    folder = options.page.parent if options.page else options.output
    table = [f"| decoded from | kbit/s | {' | '.join(names)} |", "|---|---:|" + "---|" * len(names)]
    for title, bitrate, paths in rows:
        links = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
        players = [f'<audio controls preload="none" src="{link}" aria-label="{title}"></audio>' for link in links]
        cells = [f"{player} [{title}]({link})" for player, link in zip(players, links, strict=True)]
        table.append(f"| {title} | {bitrate} | {' | '.join(cells)} |")
    if options.page:
        page = options.page.read_text(encoding="utf-8")
        before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
        options.page.write_text("\n\n".join([before, "\n".join(table), after]), encoding="utf-8")
    print("\n".join(table))


if __name__ == "__main__":
    main()
