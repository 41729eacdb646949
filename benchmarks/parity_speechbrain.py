"""Tokens and waveforms of SpeechBrain 1.1.2 and of semtok, from random weights in SpeechBrain's published layout.

pip install speechbrain==1.1.2 scikit-learn joblib
python benchmarks/parity_speechbrain.py                         # the published size: 20 minutes on a core, 6 GB
python benchmarks/parity_speechbrain.py --encoder wavlm --codebook-size 1000
python benchmarks/parity_speechbrain.py --tiny                  # a minute
python benchmarks/parity_speechbrain.py --write-references tests/data/speechbrain    # what the tests compare with
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from speechbrain_peer import (
    CLASSES,
    PUBLISHED,
    ROOT,
    TINY,
    Size,
    layout_files,
    load_speechbrain,
    speechbrain_waveforms,
    write_case,
    write_references,
)
from torch import Tensor

from semtok import Tokenizer, Tokens, Vocoder, load_audio
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import Repository
from semtok.checkpoints.speechbrain.layouts import find_layout
from semtok.checkpoints.speechbrain.reader import read_tokenizer, read_vocoder
from semtok.codebooks.quantizer import Quantizer
from semtok.encoder.encoder import Encoder
from semtok.networks.scalable_vocoder import ScalableVocoder

AUDIO = ("libri_84-121123-0001", "arctic_axb_a0004", "ljspeech_LJ001-0004")
TIE = 1e-5  # relative: below, the two nearest centroids are closer than rounding


def clips(size: Size) -> dict[str, Tensor]:
    """Speech [samples] at 16 kHz: as it is, quiet, and with an offset."""
    if size == TINY:
        found: dict[str, Tensor] = layout_files.reference_clips()
        return found
    speech = {name: load_audio(ROOT / "tests" / "data" / f"{name}.flac") for name in AUDIO}
    first = speech[AUDIO[0]][:32000]
    return speech | {"quiet": first * 0.01, "offset": first + 0.05}


def load_semtok(folder: Path, naming: str) -> tuple[Tokenizer, Vocoder]:
    """Both from the published layout."""
    repository = Repository(str(folder / naming), folder / naming)
    layout = find_layout(repository)
    assert layout is not None
    parts = read_tokenizer(repository, layout, encoder=str(folder / "encoder"))
    config = parts.config
    model = read_encoder(parts.encoder, max(config.layers))
    encoder = Encoder(model, normalize=config.normalize, normalize_epsilon=config.normalize_epsilon)
    described = read_vocoder(repository, layout)
    network = ScalableVocoder(described.config)
    network.load_state_dict(described.weights)
    return Tokenizer(config, encoder, parts.centroids), Vocoder(described.config, network)


def compare_tokens(tokenizer: Tokenizer, clip: Tensor, wanted: Tensor) -> list[dict[str, float]]:
    """For each layer: how many frames have other tokens than `wanted` [layers, frames], for a tie or without one."""
    found = tokenizer.encode(clip).codes[0]
    features = tokenizer.features(clip)[0]
    rows = []
    for position, layer in enumerate(tokenizer.layers):
        margins = Quantizer(tokenizer.centroids(layer)).margins(features[position])
        differ = found[position] != wanted[position]
        rows.append(
            {
                "layer": layer,
                "frames": len(margins),
                "codes used": len(wanted[position].unique()),
                "ties": int((differ & (margins < TIE)).sum()),
                "different": int((differ & (margins >= TIE)).sum()),
                "smallest margin": float(margins.min()),
            }
        )
    return rows


def compare_waveforms(vocoder: Vocoder, codes: Tensor, wanted: dict[tuple[int, ...], Tensor]) -> list[dict[str, Any]]:
    """For each subset of layers: the largest difference from `wanted` [samples], for codes [layers, frames]."""
    tokens = Tokens.of([codes], vocoder.codebooks, 50.0, vocoder.fingerprint)
    return [
        {
            "layers": layers,
            "difference": float((vocoder.decode(tokens, layers=layers)[0] - waveform).abs().max()),
            "peak": float(waveform.abs().max()),
        }
        for layers, waveform in wanted.items()
    ]


@torch.inference_mode()
def run_case(family: str, size: Size, codebook_size: int, references: Path | None) -> dict[str, Any]:
    """Compares one encoder and codebook size; writes what the tests need to the folder `references`."""
    with tempfile.TemporaryDirectory() as name:
        folder, audio = Path(name), clips(size)
        speech = list(audio.values())[:-2]  # the last two are the first again
        write_case(folder, family, size, codebook_size, speech)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randint(codebook_size, (len(size.layers), 12 if size == TINY else 100), generator=generator)
        tokens, waveforms = [], []
        for naming in ("new", "old"):
            theirs = load_speechbrain(folder, naming, family, codebook_size)
            tokenizer, vocoder = load_semtok(folder, naming)
            wanted = speechbrain_waveforms(theirs, drawn, size.layers)
            waveforms += [{"naming": naming, **row} for row in compare_waveforms(vocoder, drawn, wanted)]
            if naming == "new":
                codes = {clip: theirs.encode(waveform[None].clone())[0][0].T for clip, waveform in audio.items()}
                for clip, waveform in audio.items():
                    tokens += [{"clip": clip, **row} for row in compare_tokens(tokenizer, waveform, codes[clip])]
        if references is not None:
            write_references(references, folder, codes, drawn, wanted)
    return {"encoder": family, "codebook_size": codebook_size, "tokens": tokens, "waveforms": waveforms}


def print_tables(case: dict[str, Any]) -> None:
    """Both tables in Markdown; tokens summed over the clips."""
    print(f"\n{case['encoder']}, K = {case['codebook_size']}\n")
    print(
        "| layer | frames | codes used | equal | ties | different without a tie | smallest margin |\n"
        "|---|---|---|---|---|---|---|"
    )
    for layer in sorted({row["layer"] for row in case["tokens"]}):
        rows = [row for row in case["tokens"] if row["layer"] == layer]
        frames, ties, different = (sum(row[key] for row in rows) for key in ("frames", "ties", "different"))
        used, margin = max(row["codes used"] for row in rows), min(row["smallest margin"] for row in rows)
        equal = 100 * (1 - (ties + different) / frames)
        print(f"| {layer} | {frames} | {used} | {equal:.3f} % | {ties} | {different} | {margin:.1e} |")
    print("\n| naming of weight normalisation | layers | largest difference | peak |\n|---|---|---|---|")
    for row in case["waveforms"]:
        print(f"| {row['naming']} | {row['layers']} | {row['difference']:.1e} | {row['peak']:.2f} |")


def main() -> None:
    """Runs the comparisons asked for and prints them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=sorted(CLASSES), nargs="+", default=sorted(CLASSES))
    parser.add_argument("--codebook-size", type=int, nargs="+", help="50 and 1000 by default")
    parser.add_argument("--tiny", action="store_true", help="tiny encoders instead of the published shapes")
    parser.add_argument("--write-references", type=Path, metavar="FOLDER", help="for the tests; tiny, with 20 codes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there as well")
    options = parser.parse_args()
    size = TINY if options.tiny or options.write_references else PUBLISHED
    sizes = options.codebook_size or ([20] if options.write_references else [50] if options.tiny else [50, 1000])
    cases = []
    for family in options.encoder:
        for codebook_size in sizes:
            cases.append(run_case(family, size, codebook_size, options.write_references))
            print_tables(cases[-1])
    if options.json:
        options.json.write_text(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
