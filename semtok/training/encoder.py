"""Pretraining of a small HuBERT by masked prediction of k-means classes, every chosen layer with classes of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.training.config import EncoderConfig, Target
from semtok.training.data import Corpus, crop_batch, length_batches, load_corpus
from semtok.training.kmeans import KMeans
from semtok.training.run import Run, best_device, steps_with_progress
from semtok.training.targets import FEATURES, WINDOW, View

if TYPE_CHECKING:
    from transformers import HubertModel

HOP_LENGTH = 320
SAMPLE_RATE = 16000


def normalize(waveforms: Tensor) -> Tensor:
    """Zero mean and unit variance over the last dimension, as the published encoders' feature extractors do."""
    centred = waveforms - waveforms.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()


def build_encoder(config: EncoderConfig) -> HubertModel:
    """A HuBERT of random weights, drawn from the config's seed."""
    from transformers import HubertConfig, HubertModel

    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = HubertModel(HubertConfig(**config.model))
    start_as_filterbank(model.feature_extractor.conv_layers[0].conv.weight)
    return model


@torch.no_grad()
def start_as_filterbank(weight: Tensor) -> None:
    """Starts a first convolution [channels, 1, samples] as windowed sinusoids, four phases of each frequency.

    Frequencies are evenly spaced on the mel scale. A wide kernel learns such filters anyway, but slowly; with four
    phases the rectification that follows keeps the energy of each band.
    """
    channels, _, samples = weight.shape
    mels = torch.linspace(math.log1p(50 / 700), math.log1p(7600 / 700), math.ceil(channels / 4))
    frequencies = 700 * (mels.exp() - 1)
    phases = torch.arange(4) * math.pi / 2
    times = torch.arange(samples) / SAMPLE_RATE
    waves = torch.cos(2 * math.pi * frequencies[:, None, None] * times + phases[:, None])
    filters = (waves * torch.hann_window(samples)).flatten(0, 1)[:channels]
    weight.copy_(F.normalize(filters, dim=1)[:, None])


def draw_mask(batch: int, frames: int, probability: float, length: int, generator: torch.Generator) -> Tensor:
    """bool [batch, frames]: spans of `length` frames; any frame starts one with `probability` (HuBERT, section II)."""
    starts = torch.rand(batch, frames, generator=generator) < probability
    spans = F.max_pool1d(F.pad(starts[:, None].float(), (length - 1, 0)), length, stride=1)
    return spans[:, 0] > 0


class Classes:
    """Target classes of every clip's frames: int16 [frames of the corpus], addressed by clip and frame."""

    def __init__(self, corpus: Corpus) -> None:
        frames = (corpus.lengths - WINDOW) // HOP_LENGTH + 1
        self.starts = np.concatenate([[0], np.cumsum(frames)])

    def fit(self, corpus: Corpus, target: Target, hours: float, seed: int) -> Tensor:
        """k-means classes of the target's acoustic feature, fitted on `hours` of the corpus: int16 [frames]."""
        feature = FEATURES[target.features]
        order = np.random.default_rng(seed).permutation(len(corpus))
        wanted = hours * 3600 * SAMPLE_RATE
        chosen = order[: 1 + int(np.searchsorted(np.cumsum(corpus.lengths[order]), wanted))]
        points = torch.cat([feature(normalize(corpus.waveform(clip))) for clip in chosen])
        view = View.fit(points, target.emphasis, target.rest, target.components)
        kmeans = KMeans(target.codebook_size, seed=seed, iterations=12).fit(view(points))
        clips = range(len(corpus))
        return torch.cat([kmeans.predict(view(feature(normalize(corpus.waveform(c))))).short() for c in clips])

    def frames(self, clip: int) -> int:
        """Frames of a clip."""
        return int(self.starts[clip + 1] - self.starts[clip])

    def crop(self, classes: Tensor, clips: np.ndarray, starts: np.ndarray, frames: int) -> Tensor:
        """int64 [batch, frames] from frame `starts` of each clip."""
        begins = self.starts[clips] + starts
        return torch.stack([classes[begin : begin + frames] for begin in begins]).long()


def train_encoder(config: EncoderConfig) -> None:
    """Trains an encoder and saves it to `<folder>/encoder` in transformers' layout; resumes where it stopped."""
    run, device = Run(config.folder), best_device()
    corpus = load_corpus(config.data, run.folder.parent / "audio", sample_rate=SAMPLE_RATE)
    training, validation = corpus.split(config.validation_clips, config.seed)
    trainer = Trainer(config, corpus, device)
    first = trainer.load(run.load(device=device))
    batches = training_batches(config, corpus, training, first)
    for step, show in steps_with_progress(first, config.steps, "encoder"):
        if step == config.second_round_step + 1:
            trainer.start_second_round()
        numbers = trainer.step(step, *next(batches))
        if step % 50 == 0:
            show(**numbers)
            run.log(step, **numbers)
        if step % config.save_every == 0 or step == config.steps:
            run.save(trainer.state(step))
            run.log(step, **trainer.validate(validation))
    trainer.model.save_pretrained(run.folder / "encoder")


def training_batches(
    config: EncoderConfig, corpus: Corpus, clips: np.ndarray, first: int
) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
    """Crops [batch, samples], clip numbers, first frames; a resumed run gets the batches an unbroken one would."""
    crop = int(config.crop_seconds * SAMPLE_RATE)
    batch_samples = int(config.batch_seconds * SAMPLE_RATE)
    plan = length_batches(corpus.lengths, clips, batch_samples, crop, np.random.default_rng(config.seed))
    for step, batch in enumerate(itertools.islice(plan, first, None), first + 1):
        crops, starts = crop_batch(corpus, batch, crop, HOP_LENGTH, np.random.default_rng((config.seed, step)))
        yield normalize(crops), batch, starts


class Trainer:
    """Model, heads, classes and optimiser of a pretraining run."""

    def __init__(self, config: EncoderConfig, corpus: Corpus, device: torch.device) -> None:
        self.config, self.corpus, self.device = config, corpus, device
        self.model = build_encoder(config).to(device)
        dim = self.model.config.hidden_size
        with torch.random.fork_rng():
            torch.manual_seed(config.seed + 1)
            self.heads = nn.ModuleList(nn.Linear(dim, target.codebook_size) for target in config.targets).to(device)
        parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(
            parameters, config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.index = Classes(corpus)
        self.classes: list[Tensor] = []

    def load(self, state: dict[str, Any] | None) -> int:
        """Restores a saved state, or fits the first round's classes; returns the last step done."""
        if state is None:
            self.classes = [
                self.index.fit(self.corpus, target, self.config.target_hours, self.config.seed + number)
                for number, target in enumerate(self.config.targets)
            ]
            return 0
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.classes = [classes.cpu() for classes in state["classes"]]
        return int(state["step"])

    def state(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "classes": self.classes,
        }

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then linear decay to a twentieth."""
        left = (self.config.steps - step) / max(1, self.config.steps - self.config.warmup_steps)
        return self.config.learning_rate * min(step / self.config.warmup_steps, 0.05 + 0.95 * left)

    def step(self, step: int, waveforms: Tensor, clips: np.ndarray, starts: np.ndarray) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        self.model.train()
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        losses, accuracies = self.predict(waveforms, clips, starts, generator)
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.heads.parameters()], 5.0)
        self.optimizer.step()
        return {"loss": float(loss.detach()), **accuracies}

    def predict(
        self, waveforms: Tensor, clips: np.ndarray, starts: np.ndarray, generator: torch.Generator
    ) -> tuple[list[Tensor], dict[str, float]]:
        """Losses of every target and the accuracy of each where it counts (masked or visible frames)."""
        config = self.config
        frames = int(self.model._get_feat_extract_output_lengths(waveforms.shape[1]))
        mask = draw_mask(len(waveforms), frames, config.mask_probability, config.mask_length, generator).to(self.device)
        losses, accuracies = [], {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            states = self.model(
                waveforms.to(self.device), mask_time_indices=mask, output_hidden_states=True
            ).hidden_states
            for target, head, classes in zip(config.targets, self.heads, self.classes, strict=True):
                wanted = self.index.crop(classes, clips, starts, frames).to(self.device)
                logits = head(states[target.layer]).float()
                weights = torch.where(mask, 1.0, config.visible_weight) if target.masked else (~mask).float()
                loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
                losses.append((loss * weights.flatten()).sum() / weights.sum().clamp(min=1))
                counted = mask if target.masked else ~mask
                hits = (logits.argmax(-1) == wanted)[counted].float().mean()
                accuracies[f"layer_{target.layer}"] = float(hits)
        return losses, accuracies

    @torch.no_grad()
    def validate(self, clips: np.ndarray) -> dict[str, float]:
        """Mean accuracies over whole validation clips."""
        self.model.eval()
        totals: dict[str, list[float]] = {}
        for clip in clips:
            generator = torch.Generator().manual_seed(int(clip))
            waveform = normalize(self.corpus.waveform(clip))[None]
            _, accuracies = self.predict(waveform, np.array([clip]), np.array([0]), generator)
            for name, value in accuracies.items():
                totals.setdefault(f"valid_{name}", []).append(value)
        return {name: float(np.nanmean(values)) for name, values in totals.items()}

    @torch.no_grad()
    def start_second_round(self) -> None:
        """New classes for the masked targets: k-means of this encoder's own features; their heads start afresh."""
        self.model.eval()
        layer, device = self.config.second_round_layer, self.device
        features = []
        for clip in range(len(self.corpus)):
            waveform = normalize(self.corpus.waveform(clip))[None].to(device)
            own = self.model(waveform, output_hidden_states=True).hidden_states[layer][0].half().cpu()
            # A receptive field wider than the window of the acoustic features gives a clip fewer frames.
            missing = self.index.frames(clip) - len(own)
            features.append(torch.cat([own, own[-1:].expand(missing, -1)]))
        points = torch.cat(features)
        chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(self.config.seed))
        chosen = chosen[: int(self.config.target_hours * 180_000)]
        for number, target in enumerate(self.config.targets):
            if target.masked:
                kmeans = KMeans(target.codebook_size, seed=self.config.seed, iterations=12).fit(points[chosen].float())
                codes = [kmeans.predict(part.float()).short() for part in points.split(65536)]
                self.classes[number] = torch.cat(codes)
                with torch.random.fork_rng():
                    torch.manual_seed(self.config.seed + 2)
                    self.heads[number].reset_parameters()  # type: ignore[operator]
