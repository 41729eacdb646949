"""How good and how fast semtok's k-means is beside scikit-learn's and faiss's, on features of real speech.

Two sets of features of the bundled encoder `tiny`: three of its layers as they are (192 dimensions), and six mixtures
of its five layers, each turned at random into 1024 dimensions, which is the size of six layers of WavLM-large.

pip install faiss-cpu scikit-learn
python benchmarks/kmeans.py --audio data/core data/extra --threads 2    # half an hour, 4 GB
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np
import sklearn
import torch
from report import print_versions
from torch import Tensor

from semtok import Tokenizer
from semtok.training.data.corpus import load_corpus
from semtok.training.kmeans.features import collect_features, draw_pieces, split_parts
from semtok.training.kmeans.kmeans import KMeans

TESTS = Path(__file__).parent.parent / "tests" / "data"
LAYERS = (1, 3, 5, 7)
SMALL, LARGE = ("layer 1", "layer 3", "layer 7"), tuple(f"mixture {number}" for number in range(1, 7))
PEER = "scikit-learn, fit"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", nargs="+", default=["data/core", "data/extra"], help="folders of speech")
    parser.add_argument("--hours", type=float, default=1.2, help="of it")
    parser.add_argument("--codebook-size", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=1024, help="of the mixtures")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="12 s of speech, 20 clusters, dim 64: tries the script")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)  # one row, in a process of its own
    parser.add_argument("--features", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.audio, options.codebook_size, options.dim = [str(TESTS)], 20, 64
    torch.set_num_threads(options.threads)
    if options.method:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.features = f"{folder}/features.npy"
        frames = save_features(options, Path(folder))
        print_versions(options.threads)
        print(f"scikit-learn {sklearn.__version__}, faiss {faiss.__version__}; {datetime.datetime.now():%Y-%m-%d};")
        print(f"{frames} frames, K = {options.codebook_size}.")
        results = {method: run_alone(method, options) for method in METHODS}
    print_tables(results, options.dim)


def save_features(options: argparse.Namespace, folder: Path) -> int:
    """Features of all of `LAYERS`, float16 [layers, frames, 192], of random clips; answers the number of frames."""
    encoder = Tokenizer.from_pretrained("tiny").encoder
    corpus = load_corpus(options.audio, folder / "audio", sample_rate=encoder.sample_rate)
    pieces = draw_pieces(corpus.lengths, encoder.sample_rate, options.hours, seed=0)
    batches = split_parts(pieces, encoder, sys.maxsize, batch_seconds=60)[0]
    features = torch.stack(collect_features(encoder, corpus, batches, LAYERS, visible=True))
    np.save(options.features, features.numpy())
    return features.shape[1]


def run_alone(method: str, options: argparse.Namespace) -> dict[str, SimpleNamespace]:
    """One method on all features, in its own process to measure its peak memory (not with --quick)."""
    if options.quick:
        rows = measure(argparse.Namespace(**{**vars(options), "method": method}))
        return {name: SimpleNamespace(**row) for name, row in rows.items()}
    command = [sys.executable, __file__, "--method", method, "--features", options.features]
    for name in ("codebook_size", "dim", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(command, env=os.environ | threads, stdout=subprocess.PIPE, text=True, check=True)
    return {name: SimpleNamespace(**row) for name, row in json.loads(done.stdout).items()}


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Mean squared distance, seconds, and peak GiB so far of one method on each set of features."""
    faiss.omp_set_num_threads(options.threads)
    features = np.load(options.features, mmap_mode="r")
    rows = {}
    for name in (*SMALL, *LARGE):
        points = points_of(features, name, options.dim)
        start = time.perf_counter()
        centroids = METHODS[options.method](points, options.codebook_size)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows[name] = {"inertia": inertia(points, centroids), "seconds": seconds, "peak": peak}
        print(f"{options.method}, {name}: {rows[name]}", file=sys.stderr)
    return rows


def points_of(features: np.ndarray, name: str, dim: int) -> Tensor:
    """float32 [frames, dim], in random order."""
    kind, number = name.split()
    generator = torch.Generator().manual_seed(int(number))
    if kind == "layer":
        points = torch.from_numpy(features[LAYERS.index(int(number))].astype(np.float32))
    else:
        turned = torch.randn(len(LAYERS), features.shape[2], dim, generator=generator) / features.shape[2] ** 0.5
        weights = torch.rand(len(LAYERS), generator=generator)
        points = torch.zeros(features.shape[1], dim)
        for layer, weight, turn in zip(features, weights, turned, strict=True):
            points.addmm_(torch.from_numpy(layer.astype(np.float32)), turn * weight)
    return points[torch.randperm(len(points), generator=generator)]


def inertia(points: Tensor, centroids: Tensor) -> float:
    """The mean squared distance to the nearest centroid, measured alike for all."""
    mean = points.mean(0)
    distances = (torch.cdist(rows - mean, centroids - mean).min(1).values for rows in points.split(8192))
    return float(torch.cat([nearest.double().square() for nearest in distances]).mean())


def sklearn_fit(points: Tensor, codebook_size: int) -> Tensor:
    kmeans = sklearn_kmeans(codebook_size).fit(points.numpy())
    return torch.from_numpy(kmeans.cluster_centers_).float()


def sklearn_pass(points: Tensor, codebook_size: int) -> Tensor:
    """The published recipe."""
    kmeans = sklearn_kmeans(codebook_size)
    for batch in points.chunk(max(1, len(points) // (10 * codebook_size))):
        kmeans.partial_fit(batch.numpy())
    return torch.from_numpy(kmeans.cluster_centers_).float()


def sklearn_kmeans(codebook_size: int) -> sklearn.cluster.MiniBatchKMeans:
    from sklearn.cluster import MiniBatchKMeans

    return MiniBatchKMeans(codebook_size, batch_size=10 * codebook_size, random_state=0)


def faiss_train(points: Tensor, codebook_size: int) -> Tensor:
    kmeans = faiss.Kmeans(points.shape[1], codebook_size, niter=25, seed=0, max_points_per_centroid=len(points))
    kmeans.train(points.numpy())
    return torch.from_numpy(kmeans.centroids)


def semtok_passes(points: Tensor, codebook_size: int, passes: int) -> Tensor:
    kmeans = KMeans(codebook_size)
    for _ in range(passes):
        kmeans.partial_fit(points)
    return kmeans.centroids_


METHODS: dict[str, Callable[[Tensor, int], Tensor]] = {
    PEER: sklearn_fit,
    "scikit-learn, one pass of partial_fit": sklearn_pass,
    "faiss, 25 iterations": faiss_train,
    "semtok, one pass of partial_fit": lambda points, size: semtok_passes(points, size, 1),
    "semtok, three passes of partial_fit": lambda points, size: semtok_passes(points, size, 3),
    "semtok, fit": lambda points, size: KMeans(size).fit(points).centroids_,
}


def print_tables(results: dict[str, dict[str, SimpleNamespace]], dim: int) -> None:
    references = [rows for method, rows in results.items() if not method.startswith("semtok")]
    best = {name: min(rows[name].inertia for rows in references) for name in (*SMALL, *LARGE)}
    for title, names in (("three layers of tiny, dim 192", SMALL), (f"six mixtures, dim {dim}", LARGE)):
        print(f"\n| {title} | inertia / better reference's: mean | worst | seconds | x faster | peak GiB |")
        print("|---|---:|---:|---:|---:|---:|")
        slowest = sum(results[PEER][name].seconds for name in names)
        for method, rows in results.items():
            ratios = [rows[name].inertia / best[name] for name in names]
            seconds, peak = sum(rows[name].seconds for name in names), rows[names[-1]].peak
            numbers = (
                f"{np.mean(ratios):.4f} | {max(ratios):.4f} | {seconds:.2f} | {slowest / seconds:.2f} | {peak:.2f}"
            )
            print(f"| {method} | {numbers} |")


if __name__ == "__main__":
    main()
