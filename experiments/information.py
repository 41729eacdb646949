"""How much of the log-mel spectrum a checkpoint's tokens hold, and how much each layer says that others do not.

    python experiments/information.py --fit FOLDER --test FOLDER [--checkpoint tiny] [--hours 0.7]

Three tables, measured on unseen clips; log-mel patches are two windows a frame:

1. For each layer and for growing sets of layers: the share of the patches' variance that is explained by one additive
   table a layer (what tokens can say without context), and by a linear map of the continuous features.
2. For each row of codes: its entropy, and its entropy given the other layers' codes of the same frame and the earlier
   stages of its own layer, so that a layer's stages add up. The second is the cross-entropy of a small classifier on
   frames it has not seen, and so an upper bound: what it foretells is surely redundant, the rest need not be new.
3. What a small decoder of 19 frames learns from continuous features, from the tokens' centroids, and from residual
   k-means of the same features in 1, 2 and 4 stages.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from information_networks import ResidualStages, conditional_entropy, decode, entropy
from tables import cpu_name
from torch import Tensor

from semtok import Tokenizer
from semtok.speech.reading import Speech
from semtok.training.encoder.classes import normalize
from semtok.training.encoder.targets import mel

PASSES = 5
STAGES = (1, 2, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", required=True, type=Path, help="folder of speech to fit tables, maps and networks on")
    parser.add_argument("--test", required=True, type=Path, help="folder of speech to measure on")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--hours", type=float, default=0.7, help="of speech to fit on")
    parser.add_argument("--steps", type=int, default=500, help="that each network is trained for")
    parser.add_argument("--stage-size", type=int, default=500, help="clusters of each stage of residual k-means")
    parser.add_argument("--quick", action="store_true", help="two steps and tiny stages, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.stage_size = 2, 8

    tokenizer = Tokenizer.from_pretrained(options.checkpoint)
    fit = collect(tokenizer, options.fit, options.hours)
    test = collect(tokenizer, options.test, options.hours)
    print(
        f"{options.checkpoint} ({tokenizer.fingerprint}), {cpu_name()}, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, {datetime.date.today()}; fitted on {len(fit[0])} frames, "
        f"measured on {len(test[0])}; networks trained for {options.steps} steps\n"
    )
    print_tables(tokenizer, fit, test)
    print_entropies(tokenizer, fit, test, options.steps)
    print_decoders(tokenizer, fit, test, options.steps, options.stage_size)


def print_tables(tokenizer: Tokenizer, fit: Frames, test: Frames) -> None:
    """Table 1."""
    layers, rows = tokenizer.layers, tuple(tokenizer.codebooks.rows.values())
    subsets = [(layer,) for layer in layers] + [layers[:count] for count in range(2, len(layers) + 1)]
    print("| layers | tokens | continuous features |\n|---|---|---|")
    for subset in subsets:
        positions = [row for layer in subset for row in range(*rows[layers.index(layer)].indices(len(fit[1])))]
        tables = explained_by_tables(fit, test, positions, [tokenizer.codebook_sizes[p] for p in positions])
        linear = explained_by_features(fit, test, layers.index(subset[0])) if len(subset) == 1 else None
        print(f"| {_listed(subset)} | {tables:.1%} | {'' if linear is None else format(linear, '.1%')} |", flush=True)


def print_entropies(tokenizer: Tokenizer, fit: Frames, test: Frames, steps: int) -> None:
    """Table 2."""
    centroids = row_centroids(tokenizer)
    names = tokenizer.codebooks.names
    layer_of = [layer for layer, count in zip(tokenizer.layers, tokenizer.stages, strict=True) for _ in range(count)]
    print("\n| row | codebook, bits | entropy | given other layers and earlier stages, at most |\n|---|---|---|---|")
    for row, (name, own) in enumerate(zip(names, centroids, strict=True)):
        alone = min(math.log2(len(own)), entropy(fit[1][row], test[1][row], len(own)))
        others = [other for other in range(len(names)) if other < row or layer_of[other] != layer_of[row]]
        # Both are cross-entropies, and what is simpler may be nearer.
        given = alone
        if others:
            known = [(_vectors(centroids, frames[1], others), frames[1][row]) for frames in (fit, test)]
            given = min(alone, conditional_entropy(known[0], known[1], own, steps))
        print(f"| {name} | {math.log2(len(own)):.2f} | {alone:.2f} | {given:.2f} |", flush=True)


def print_decoders(tokenizer: Tokenizer, fit: Frames, test: Frames, steps: int, stage_size: int) -> None:
    """Table 3."""
    layers, centroids = tokenizer.layers, row_centroids(tokenizer)
    first = range(tokenizer.stages[0])
    rows = {f"tokens of layer {layers[0]}": first, "tokens of all layers": range(len(centroids))}
    print("\n| decoded from | bits a frame | explained variance | mean absolute error |\n|---|---|---|---|")

    def show(name: str, bits: float | None, vectors: tuple[Tensor, Tensor]) -> None:
        explained_share, error = decode((vectors[0], fit[0]), (vectors[1], test[0]), steps)
        print(
            f"| {name} | {'' if bits is None else format(bits, '.1f')} | {explained_share:.1%} | {error:.3f} |",
            flush=True,
        )

    for name, chosen in rows.items():
        bits = sum(math.log2(len(centroids[row])) for row in chosen)
        show(name, bits, (_vectors(centroids, fit[1], chosen), _vectors(centroids, test[1], chosen)))
    features = [frames[2].transpose(0, 1).contiguous() for frames in (fit, test)]
    residual = ResidualStages(features[0], features[1], stage_size)
    for stages in STAGES:
        while residual.stages < stages:
            residual.add()
        estimates = residual.estimates
        bits = stages * math.log2(stage_size)
        name = f"{stages} x K = {stage_size}"
        show(f"layer {layers[0]}, {name}", bits, (estimates[0][:, 0], estimates[1][:, 0]))
        show(f"all layers, {name}", len(layers) * bits, (estimates[0].flatten(1), estimates[1].flatten(1)))
    show(f"continuous features of layer {layers[0]}", None, (features[0][:, 0], features[1][:, 0]))
    show("continuous features of all layers", None, (features[0].flatten(1), features[1].flatten(1)))


def row_centroids(tokenizer: Tokenizer) -> list[Tensor]:
    """Centroids [codebook_size, dim] of each row of codes."""
    stages = zip(tokenizer.layers, tokenizer.stages, strict=True)
    return [tokenizer.centroids(layer, stage + 1) for layer, count in stages for stage in range(count)]


def _vectors(centroids: Sequence[Tensor], codes: Tensor, rows: Sequence[int]) -> Tensor:
    """The centroids [frames, rows x dim] that rows of codes [rows, frames] stand for."""
    return torch.cat([centroids[row][codes[row]] for row in rows], dim=1)


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


Frames = tuple[Tensor, Tensor, Tensor]
"""Log-mel patches [frames, 160], codes [rows, frames], features [layers, frames, dim]."""


def collect(tokenizer: Tokenizer, folder: Path, hours: float) -> Frames:
    """Random clips of a folder, up to so many hours."""
    speech = Speech([folder])
    order = torch.randperm(len(speech), generator=torch.Generator().manual_seed(0)).tolist()
    patches, codes, features, seconds = [], [], [], 0.0
    for _, waveform in speech.read(tokenizer.sample_rate, order):
        if seconds > hours * 3600:
            break
        if isinstance(waveform, Exception):
            raise waveform
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
