"""Learnt rows beside the k-means of one layer of the same encoder: what each keeps, at the same bitrate.

    semtok train tokens configs/tiny/tokens.yaml
    python experiments/learnt_rows.py --learnt runs/tiny/tokens/best --beside tiny --layer 7 \
        --speech data/core/so762_adult/manifest.csv --alignments data/phones.jsonl \
        --emotions data/core/emodb/manifest.csv

For each row: how much its codes tell of phones (PNMI); of how many frames a linear probe on the code names the
speaker or the emotion; unit edit distance under noise and other changes, the mean of all; with `--recognizers`, the
character error rate on the `test` split of a recogniser trained on the row alone; with `--vocoders`, STOI and log-mel
distance of what a small vocoder trained on the row alone makes of clips of the `test` split. `--seeds` are those of
probes, recognisers and vocoders, all trained alike; deviations are over them. The row is trained once.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from tables import cpu_name

from semtok import Tokenizer, Vocoder
from semtok.analysis.benchmark.codes import phone_information
from semtok.analysis.clips import read_excerpts, read_tiers
from semtok.analysis.frames import Frames, encode_frames
from semtok.analysis.labels import column_labels
from semtok.analysis.resynthesis import ResynthesisQuality
from semtok.analysis.stability import stability
from semtok.analysis.tables.labels import probe_layers
from semtok.checkpoints.config import read_config
from semtok.codebooks.layers import Layer
from semtok.errors import SemtokError
from semtok.speech.reading import Speech
from semtok.support.json import read_json
from semtok.training.downstream.recognizer import RecognizerObjective, RecognizerTrainingConfig
from semtok.training.downstream.trainer import train_task
from semtok.training.vocoder.config import VocoderTrainingConfig
from semtok.training.vocoder.trainer import train_vocoder

SETTING = Path(__file__).with_suffix(".yaml")
COLUMNS = {
    "pnmi": "PNMI",
    "speaker": "speaker, % of frames",
    "emotion": "emotion, % of frames",
    "ued": "UED, %",
    "cer": "CER, %",
    "stoi": "STOI",
    "log_mel_distance": "log-mel distance",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learnt", required=True, help="tokenizer of `semtok train tokens`")
    parser.add_argument("--beside", default="tiny", help="checkpoint whose layer stands beside its rows")
    parser.add_argument("--layer", type=int, default=7)
    parser.add_argument("--speech", required=True, help="manifest with texts, speakers and splits")
    parser.add_argument("--alignments", required=True, help="phones of its clips")
    parser.add_argument("--emotions", required=True, help="manifest with emotions")
    parser.add_argument("--recognizers", action="store_true")
    parser.add_argument("--vocoders", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of recognisers and vocoders; by default as the YAML beside has it")
    parser.add_argument("--output", type=Path, default=Path("runs/learnt_rows"))
    options = parser.parse_args()

    tokenizer = join(options)
    scores: dict[Layer, dict[str, list[float]]] = {layer: {} for layer in tokenizer.layers}
    for layer, name, value in measure(tokenizer, options):
        scores[layer].setdefault(name, []).append(value)
    print_table(tokenizer, scores, options)


def join(options: argparse.Namespace) -> Tokenizer:
    """A tokenizer of the learnt rows and the layer beside them, kept in a folder."""
    learnt, beside = (Tokenizer.from_pretrained(name) for name in (options.learnt, options.beside))
    centroids: dict[Layer, torch.Tensor] = {name: learnt.centroids(name) for name in learnt.layers}
    encoder = learnt.encoder if learnt.encoder.num_layers >= options.layer else beside.encoder
    joined = Tokenizer.from_centroids(
        encoder.model,
        {options.layer: beside.centroids(options.layer), **centroids},
        normalize=learnt.config.normalize,
        mixtures=learnt.layer_weights,
    )
    joined.save_pretrained(options.output / "tokenizer")
    return Tokenizer.from_pretrained(options.output / "tokenizer")


def measure(tokenizer: Tokenizer, options: argparse.Namespace) -> Iterator[tuple[Layer, str, float]]:
    """Each measure of each row, as (layer, name, value), for all seeds."""
    speech, emotions = Speech([options.speech]), Speech([options.emotions])
    frames = encode_frames(tokenizer, speech, options.output)
    of_emotions = encode_frames(tokenizer, emotions, options.output / "emotions")
    tiers = read_tiers(speech, options.speech, options.alignments)
    of_phones = phone_information(frames, tiers, len(speech)).values()  # of rows, which are layers here
    yield from ((layer, "pnmi", figure.value) for layer, figure in zip(tokenizer.layers, of_phones, strict=True))
    excerpts = read_excerpts(speech, frames.clips, tokenizer.sample_rate)
    distances = np.mean(list(stability(tokenizer, excerpts).values()), axis=0)
    yield from ((layer, "ued", 100 * float(one)) for layer, one in zip(tokenizer.layers, distances, strict=True))
    for seed in options.seeds:
        for layer in tokenizer.layers:
            yield layer, "speaker", 100 * named(frames, speech, "speaker", layer, seed)
            yield layer, "emotion", 100 * named(of_emotions, emotions, "emotion", layer, seed)
            if options.recognizers:
                yield layer, "cer", 100 * recognise(tokenizer, layer, seed, options)
            if options.vocoders:
                stoi, distance = ResynthesisQuality(*vocode(layer, seed, options), excerpts)((layer,))
                yield layer, "stoi", stoi
                yield layer, "log_mel_distance", distance


def named(frames: Frames, speech: Speech, column: str, layer: Layer, seed: int) -> float:
    """The share of unseen frames whose label a linear probe on the codes of a layer names.

    Of frames, as emotions are held out by speakers, of whom there are too few to count.
    """
    return probe_layers(frames, column_labels(frames, speech.clips, column), [layer], seed, linear=True).accuracy


def recognise(tokenizer: Tokenizer, layer: Layer, seed: int, options: argparse.Namespace) -> float:
    """Character error rate of a recogniser trained on one layer alone."""
    folder = options.output / "recognizers" / f"{layer}-{seed}"
    entries = yaml.safe_load(SETTING.read_text())["recognizer"]
    entries |= {"folder": str(folder), "seed": seed, "tokenizer": str(options.output / "tokenizer")}
    entries["data"] = {"sources": [options.speech], "layers": [layer], "validation_clips": 50}
    if options.steps:
        entries["schedule"] |= {"steps": options.steps, "save_every": options.steps}
    train_task(RecognizerObjective, read_config(entries, RecognizerTrainingConfig, str(SETTING)), tokenizer)
    return float(read_json(folder / "test.json", SemtokError)["cer"])


def vocode(layer: Layer, seed: int, options: argparse.Namespace) -> tuple[Tokenizer, Vocoder]:
    """The tokenizer of one layer, and a vocoder trained on it."""
    alone, folder = options.output / f"tokenizer-{layer}", options.output / "vocoders" / f"{layer}-{seed}"
    Tokenizer.from_pretrained(options.output / "tokenizer", layers=[layer]).save_pretrained(alone)
    entries = yaml.safe_load(SETTING.read_text())["vocoder"]
    entries |= {"folder": str(folder), "seed": seed, "tokenizer": str(alone), "data": [options.speech]}
    entries |= {"leave_out_splits": ["test"]}
    if options.steps:
        entries |= {"steps": options.steps, "save_every": options.steps, "adversarial_step": options.steps}
    train_vocoder(read_config(entries, VocoderTrainingConfig, str(SETTING)))
    return Tokenizer.from_pretrained(alone), Vocoder.from_pretrained(folder / "best")


def print_table(tokenizer: Tokenizer, scores: dict[Layer, dict[str, list[float]]], options: argparse.Namespace) -> None:
    print(f"{cpu_name()}, torch {torch.__version__}, {datetime.date.today()}; seeds {options.seeds}\n")
    present = [name for name in COLUMNS if any(name in of_layer for of_layer in scores.values())]
    print("| row | " + " | ".join(COLUMNS[name] for name in present) + " |\n|---|" + "---:|" * len(present))
    for layer, of_layer in scores.items():
        print(f"| {layer} | " + " | ".join(written(of_layer[name]) for name in present) + " |")
    for name, weights in tokenizer.layer_weights.items():
        print(f"\n{name}: " + ", ".join(f"layer {layer} {weight:.2f}" for layer, weight in weights.items()))


def written(values: Sequence[float]) -> str:
    digits = 3 if abs(values[0]) < 10 else 1
    deviation = f" ± {np.std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
