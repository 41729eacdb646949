"""Codebooks of the features of some clips, and small vocoders trained and measured on them."""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import Scores, Setting, digest, kept, load_encoder, load_speech, measure
from tables import Results, mean_over_clips, new_results
from torch import Tensor

from semtok import Tokenizer, Tokens, Vocoder
from semtok.checkpoints.config import read_config
from semtok.codebooks.fingerprint import weights_identity
from semtok.codebooks.quantizer import Quantizer
from semtok.speech.store import Values
from semtok.support.atomic import atomic_write
from semtok.support.progress import steps_with_progress
from semtok.training.kmeans.kmeans import KMeans
from semtok.training.run import Run
from semtok.training.vocoder.config import VocoderTrainingConfig
from semtok.training.vocoder.networks import start_network
from semtok.training.vocoder.token_corpus import TokenCorpus, loudness_gain
from semtok.training.vocoder.trainer import VocoderTrainer


@dataclass(frozen=True)
class Codebooks:
    """Centroids [codebook_size, dim] of each layer, and the codes int32 [frames, layers] of all clips by them."""

    name: str
    centroids: list[Tensor]
    train: np.ndarray
    test: np.ndarray


class WithoutDropout(VocoderTrainer):
    """Every utterance keeps all layers."""

    def _learn(
        self, step: int, codes: Tensor, waveforms: Tensor, present: Tensor, voices: Tensor | None = None
    ) -> dict[str, Tensor]:
        return super()._learn(step, codes, waveforms, torch.ones_like(present), voices)


class Laboratory:
    """The speech of an experiment, codebooks of it, and vocoders of those."""

    def __init__(self, options: argparse.Namespace, setting: Setting) -> None:
        self.output, self.setting = options.output, setting
        self.encoder = load_encoder(options.encoder, setting.layers, normalize=setting.normalize)
        self.train = load_speech(options.train, self.encoder, setting.layers, self.output / "train")
        self.test = load_speech(options.test, self.encoder, setting.layers, self.output / "test")

    def codebooks(self, size: int, folders: Sequence[str] = ()) -> Codebooks:
        """k-means with `size` clusters of each layer, on random frames of these folders of the training clips.

        Of all of them by default. They are kept in a file.
        """
        setting, name = self.setting, "-".join([*folders, f"k{size}"])
        about = (weights_identity(self.encoder.model), setting.layers, setting.fit_frames, setting.iterations)
        path = self.output / f"{name}-{digest(*about, self.train.store.digest, self.test.store.digest)}.pt"
        if not path.exists():
            with atomic_write(path) as aside:
                torch.save(self._fit(size, folders, name), aside)
        found = torch.load(path, weights_only=True)
        return Codebooks(name, found["centroids"], *(torch.stack(found[p], dim=1).numpy() for p in ("train", "test")))

    def _fit(self, size: int, folders: Sequence[str], name: str) -> dict[str, list[Tensor]]:
        frames = self.train.frames_in(folders).nonzero()[0]
        chosen = np.sort(np.random.default_rng(0).permutation(frames)[: self.setting.fit_frames])
        found: dict[str, list[Tensor]] = {"centroids": [], "train": [], "test": []}
        for step, _ in steps_with_progress(0, len(self.setting.layers), f"codebooks {name}"):
            train, test = (speech.features(step - 1) for speech in (self.train, self.test))
            points = torch.from_numpy(train[chosen]).float()
            quantizer = Quantizer(KMeans(size, iterations=self.setting.iterations).fit(points).centroids_)
            found["centroids"].append(quantizer.centroids)
            found["train"].append(quantizer(torch.from_numpy(train)).int())
            found["test"].append(quantizer(torch.from_numpy(test)).int())
        return found

    def run(
        self,
        codebooks: Codebooks,
        seed: int,
        *,
        layers: Sequence[int] | None = None,
        trainer: type[VocoderTrainer] = VocoderTrainer,
        from_centroids: bool = True,
        steps: int | None = None,
        entries: dict[str, Any] | None = None,
        subsets: Sequence[Sequence[int]] | None = None,
    ) -> list[Scores]:
        """Trains a vocoder on the codes of some layers, all by default; scores of what it makes of subsets of them.

        By default the subsets are each layer alone and all, and the steps those of the setting. `entries` go over those
        of the setting's vocoder; with `speaker` in them, its encoder learns along, and is told of each test clip.
        Scores of a finished run are kept in a file of its own.
        """
        layers, steps = layers or self.setting.layers, steps or self.setting.vocoder["steps"]
        subsets = subsets or [[layer] for layer in layers] + [layers] * (len(layers) > 1)
        positions = [self.setting.layers.index(layer) for layer in layers]
        centroids = {layer: codebooks.centroids[p] for layer, p in zip(layers, positions, strict=True)}
        tokenizer = Tokenizer.from_centroids(self.encoder.model, centroids, normalize=self.setting.normalize)
        wanted: dict[str, Any] = {
            "tokenizer": tokenizer.fingerprint,
            "vocoder": self.setting.vocoder
            | {"steps": steps, "seed": seed, "embeddings_from_centroids": from_centroids}
            | (entries or {}),
            "dropout": trainer is not WithoutDropout,
            "train": self.train.store.digest,
            "test": self.test.store.digest,
            "clip_seconds": self.setting.clip_seconds,
            "subsets": subsets,
        }
        if trainer not in (VocoderTrainer, WithoutDropout):
            wanted["trainer"] = trainer.__name__
        how = ["layers", *map(str, layers)] + ["random"] * (not from_centroids)
        how += [trainer.__name__] * (trainer is not VocoderTrainer) + sorted(entries or {})
        how += [f"steps-{steps}"] * (steps != self.setting.vocoder["steps"])

        def make() -> list[Scores]:
            codes = Values.of(codebooks.train[:, positions], self.train.frames)
            tokens = TokenCorpus(self.train.corpus, codes, self._gains, self.encoder.hop_length)
            vocoder = self._train(tokenizer, tokens, wanted["vocoder"], trainer)
            clips = self._test_clips(tokenizer, codebooks.test[:, positions])
            return [measure(vocoder, clips, subset) for subset in subsets]

        path = self.output / "runs" / f"{codebooks.name}-{'-'.join(how)}-seed-{seed}.json"
        found: list[Scores] = kept(path, wanted, make)
        return found

    def compare(self, kinds: dict[str, dict[str, Any]]) -> Results:
        """Vocoders of each kind, by its label and the arguments of `run`, from each seed: from each layer and all."""
        codebooks = self.codebooks(self.setting.codebook_size)
        points = [f"layer {layer}" for layer in self.setting.layers] + ["all"]
        results = new_results()
        for label, how in kinds.items():
            for seed in self.setting.seeds:
                for point, scores in zip(points, self.run(codebooks, seed, **how), strict=True):
                    results[label][point].append(mean_over_clips(scores))
        return results

    @functools.cached_property
    def _gains(self) -> np.ndarray:
        corpus, rms = self.train.corpus, self.setting.vocoder["target_rms"]
        return np.array([loudness_gain(corpus.waveform(clip), rms) for clip in range(len(corpus))], np.float32)

    def _train(
        self, tokenizer: Tokenizer, tokens: TokenCorpus, entries: dict[str, Any], kind: type[VocoderTrainer]
    ) -> Vocoder:
        steps = entries["steps"]
        with tempfile.TemporaryDirectory() as folder:
            # Its files are not used, nor are the discriminators, which come in after the last step.
            filed = {"folder": folder, "data": [], "tokenizer": "", "validation_clips": 1, "save_every": steps}
            config = read_config(entries | filed | {"adversarial_step": steps}, VocoderTrainingConfig, "vocoder")
            run = Run(folder, precision=config.precision)
            network, description = start_network(config, tokenizer)
            trainer = kind(config, run, tokenizer, tokens, network, description)
            for step, show in steps_with_progress(0, steps, f"vocoder of layers {tokenizer.layers}"):
                numbers = trainer.step(step)
                show(**{name: float(number.detach()) for name, number in numbers.items()})
        return Vocoder(description, trainer.average)

    def _test_clips(self, tokenizer: Tokenizer, codes: np.ndarray) -> list[tuple[np.ndarray, Tokens]]:
        clips = []
        of_clips = Values.of(codes, self.test.frames)
        for clip, length in enumerate(self.test.frames.tolist()):
            frames = min(length, round(self.setting.clip_seconds * tokenizer.frame_rate))
            waveform = self.test.corpus.waveform(clip, 0, frames * tokenizer.hop_length).numpy()
            rows = torch.from_numpy(of_clips[clip, 0, slice(frames)].T.astype(np.int64))
            tokens = Tokens.of([rows], tokenizer.codebooks, tokenizer.frame_rate, tokenizer.fingerprint)
            clips.append((waveform, tokens))
        return clips

    def explained(self, codebooks: Codebooks, layers: Sequence[int], folders: Sequence[str] = ()) -> float:
        """The share of the variance of test features that the centroids tell, the mean over layers."""
        chosen = self.test.frames_in(folders)
        shares = []
        for number in (self.setting.layers.index(layer) for layer in layers):
            features = torch.from_numpy(self.test.features(number)[chosen]).float()
            left = features - codebooks.centroids[number][torch.from_numpy(codebooks.test[chosen, number]).long()]
            shares.append(1 - left.square().sum() / (features - features.mean(0)).square().sum())
        return float(torch.stack(shares).mean())

    @property
    def frame_rate(self) -> float:
        return self.encoder.sample_rate / self.encoder.hop_length

    def facts(self) -> str:
        """What is to be known of the numbers beside the tables."""
        setting, vocoder = self.setting, self.setting.vocoder
        hours = self.train.corpus.lengths.sum() / self.encoder.sample_rate / 3600
        return (
            f"Mean ± standard deviation over {len(setting.seeds)} seeds (one, where none is shown); "
            f"{len(self.test.corpus)} clips of "
            f"{setting.clip_seconds:g} s at most; vocoders trained for {vocoder['steps']} steps (unless said), of "
            f"{vocoder['batch_size']} x {vocoder['crop_frames']} frames of {hours:.2f} h; k-means on "
            f"{setting.fit_frames} frames; encoder {weights_identity(self.encoder.model)[:17]}"
        )
