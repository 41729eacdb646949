"""How much of the log-mel spectrum a checkpoint's tokens hold, whatever a vocoder makes of them.

    python experiments/information.py --fit FOLDER --test FOLDER [--checkpoint tiny] [--hours 0.5]

For each layer, for growing sets of layers and for all: the share of the variance of log-mel patches (two windows a
frame) that is explained on unseen clips, by one additive table a layer (what tokens can say without context), and by a
linear map of the continuous features that were quantized.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from semtok import Tokenizer, load_audio
from semtok.training.data import find_clips
from semtok.training.encoder import normalize
from semtok.training.targets import mel

PASSES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", required=True, type=Path, help="folder of speech to fit tables and maps on")
    parser.add_argument("--test", required=True, type=Path, help="folder of speech to measure on")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--hours", type=float, default=0.5, help="of speech to fit on")
    options = parser.parse_args()

    tokenizer = Tokenizer.from_pretrained(options.checkpoint)
    fit = collect(tokenizer, options.fit, options.hours)
    test = collect(tokenizer, options.test, options.hours)
    layers = tokenizer.layers
    subsets = [(layer,) for layer in layers] + [layers[:count] for count in range(2, len(layers) + 1)]
    print(
        f"{options.checkpoint} ({tokenizer.fingerprint}), {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores, torch {torch.__version__}, {datetime.date.today()}; "
        f"fitted on {len(fit[0])} frames, measured on {len(test[0])}\n"
    )
    print("| layers | tokens | continuous features |\n|---|---|---|")
    for subset in subsets:
        positions = [layers.index(layer) for layer in subset]
        tables = explained_by_tables(fit, test, positions, [tokenizer.codebook_sizes[p] for p in positions])
        linear = explained_by_features(fit, test, positions[0]) if len(positions) == 1 else None
        print(f"| {', '.join(map(str, subset))} | {tables:.1%} | {'' if linear is None else format(linear, '.1%')} |")


Frames = tuple[Tensor, Tensor, Tensor]
"""Log-mel patches [frames, 160], codes [layers, frames], features [layers, frames, dim]."""


def collect(tokenizer: Tokenizer, folder: Path, hours: float) -> Frames:
    """Random clips of a folder, up to so many hours."""
    clips = find_clips([folder])
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0)).tolist()
    patches, codes, features, seconds = [], [], [], 0.0
    for number in order:
        if seconds > hours * 3600:
            break
        waveform = load_audio(clips[number], sample_rate=tokenizer.sample_rate)
        seconds += len(waveform) / tokenizer.sample_rate
        codes.append(tokenizer.encode(waveform).codes[0])
        features.append(tokenizer.features(waveform)[0])
        # An encoder whose receptive field is wider than the window has fewer frames.
        patches.append(mel(normalize(waveform))[: codes[-1].shape[1]])
    return torch.cat(patches), torch.cat(codes, dim=1), torch.cat(features, dim=1)


def explained_by_tables(fit: Frames, test: Frames, positions: Sequence[int], sizes: Sequence[int]) -> float:
    """One table [codebook_size, 160] a layer, fitted in turns to what the others leave; their sum is the estimate."""
    mean = fit[0].mean(0)
    tables = [torch.zeros(size, mean.shape[0]) for size in sizes]
    left = fit[0] - mean
    for _ in range(PASSES if len(tables) > 1 else 1):
        for table, position in zip(tables, positions, strict=True):
            codes = fit[1][position]
            left += table[codes]
            counts = torch.bincount(codes, minlength=len(table))
            # A few pseudo-counts keep rare codes from being learned by heart.
            table.copy_(torch.zeros_like(table).index_add_(0, codes, left) / (counts + 3)[:, None])
            left -= table[codes]
    estimate = torch.stack([t[test[1][p]] for t, p in zip(tables, positions, strict=True)]).sum(0)
    return explained(test[0] - mean, estimate)


def explained_by_features(fit: Frames, test: Frames, position: int) -> float:
    """Least squares from the features of one layer."""
    means = fit[0].mean(0), fit[2][position].mean(0)
    inputs, targets = fit[2][position] - means[1], fit[0] - means[0]
    ridge = 1e-3 * len(inputs) * torch.eye(inputs.shape[1]) * inputs.var()
    weights = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ targets)
    return explained(test[0] - means[0], (test[2][position] - means[1]) @ weights)


def explained(truth: Tensor, estimate: Tensor) -> float:
    return 1 - float((truth - estimate).square().sum() / truth.square().sum())


if __name__ == "__main__":
    main()
