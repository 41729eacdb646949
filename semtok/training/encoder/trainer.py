"""Training of a small encoder: distillation from pretrained teachers, masked prediction of k-means classes, or both."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtok.audio.lengths import Framing
from semtok.errors import ConfigError
from semtok.support.atomic import atomic_write
from semtok.training.data.corpus import Corpus, CorpusVoices, crop_batch, length_batches, load_corpus, seeded
from semtok.training.data.disturbances import Disturber
from semtok.training.data.noises import load_noises
from semtok.training.encoder.classes import HOP_LENGTH, SAMPLE_RATE, Classes, Standardized, normalize
from semtok.training.encoder.config import EncoderConfig, Regression
from semtok.training.encoder.consistency import ConsistencyLoss
from semtok.training.encoder.locality import keep_gates, start_near
from semtok.training.encoder.targets import DIMENSIONS
from semtok.training.encoder.teachers import teacher_features
from semtok.training.run import Run, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def train_encoder(config: EncoderConfig) -> None:
    """Trains an encoder and saves it to `<folder>/encoder` in transformers' layout; resumes where it stopped."""
    run = Run(config.folder, precision=config.precision, gradient_accumulation=config.gradient_accumulation)
    corpus = load_corpus(
        config.data,
        run.folder.parent / "audio",
        sample_rate=SAMPLE_RATE,
        leave_out_splits=config.leave_out_splits,
        processes=run.processes,
    )
    settings = dataclasses.asdict(config)
    train(
        run,
        EncoderTrainer(config, run, corpus),
        config,
        seed=config.seed,
        settings=settings,
        step_name="encoder",
        product="encoder",
    )
    run.finish()


def build_encoder(config: EncoderConfig) -> PreTrainedModel:
    """An encoder of random weights, drawn from the config's seed, or the one to start from."""
    from transformers import AutoConfig, AutoModel

    entries = dict(config.model)
    family = entries.pop("model_type", "hubert")
    if config.start_from is not None:
        model: PreTrainedModel = AutoModel.from_pretrained(config.start_from, dtype=torch.float32, **entries)
        if model.config.model_type == "wavlm":
            keep_gates(model)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = AutoModel.from_config(AutoConfig.for_model(family, **entries))
        start_as_filterbank(model.feature_extractor.conv_layers[0].conv.weight)
    if config.attention_decay is not None:
        start_near(model, config.attention_decay.before, config.attention_decay.after)
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


class Student(nn.Module):
    """An encoder with a linear classifier for each target, and a linear map for each regression and each teacher."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        outputs = [(target.layer, target.codebook_size) for target in config.targets]
        outputs += [(part.layer, DIMENSIONS[part.features]) for part in config.regressions]
        outputs += [(teacher.at, teacher.components) for teacher in config.teachers]
        self.layers = [layer for layer, _ in outputs]
        self.consistent = [] if config.consistency is None else config.consistency.layers
        self.model = build_encoder(config)
        depth, dim = self.model.config.num_hidden_layers, self.model.config.hidden_size
        if wrong := [layer for layer in [*self.layers, *self.consistent] if not 0 <= layer <= depth]:
            raise ConfigError(f"the encoder has layers 0 to {depth}, but something is to be learnt at {wrong}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + 1)
            self.heads = nn.ModuleList(nn.Linear(dim, size) for _, size in outputs)

    def forward(self, waveforms: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Waveforms [batch, samples], bool mask [batch, frames] -> logits [batch, frames, classes] of each target, then
        the estimates [batch, frames, dimensions] of each regression and each teacher; and the features [batch, frames,
        dim] of each layer of `consistency`."""
        states = self.model(waveforms, mask_time_indices=mask, output_hidden_states=True).hidden_states
        outputs = [head(states[layer]) for head, layer in zip(self.heads, self.layers, strict=True)]
        return outputs, [states[layer] for layer in self.consistent]

    def features(self, waveform: Tensor, layer: int) -> Tensor:
        """A waveform [samples] -> [frames, dim] of a layer."""
        features: Tensor = self.model(waveform[None], output_hidden_states=True).hidden_states[layer][0]
        return features

    def restart_head(self, target: int, seed: int) -> None:
        """Initialises the classifier of a target again."""
        head = self.heads[target]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head.load_state_dict(nn.Linear(head.in_features, head.out_features).state_dict())  # type: ignore[arg-type]


class EncoderTrainer:
    """Network, classes and optimiser of a pretraining run."""

    def __init__(self, config: EncoderConfig, run: Run, corpus: Corpus) -> None:
        self.config, self.run, self.corpus = config, run, corpus
        self.training, self.validation = corpus.split(config.validation_clips, config.seed)
        self.crop = int(config.crop_seconds * SAMPLE_RATE)
        batch_samples = int(config.batch_seconds * SAMPLE_RATE)
        generator = np.random.default_rng(config.seed)
        self.plan = enumerate(length_batches(corpus.lengths, self.training, batch_samples, self.crop, generator))
        network = Student(config)
        optimizer = torch.optim.AdamW(
            network.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.network, self.optimizer = run.accelerator.prepare(network, optimizer)
        self.unwrapped: Student = run.accelerator.unwrap_model(self.network)
        self.classes = Classes(config, corpus)
        self.classes.values = run.stored(f"classes-{corpus.digest}", self.classes.first_round)
        self.standard = {
            part.features: Standardized.fit(part.features, corpus, config.seed) for part in config.regressions
        }
        model = self.unwrapped.model.config
        self.centre = Framing(tuple(model.conv_kernel), tuple(model.conv_stride), SAMPLE_RATE).minimum_samples / 2
        self.teachers = teacher_features(
            config.teachers,
            corpus,
            run.folder.parent / "teachers",
            sample_rate=SAMPLE_RATE,
            hop_length=math.prod(model.conv_stride),
            device=run.device,
            processes=run.processes,
        )
        self.second_round = not any(target.masked for target in config.targets)
        self.disturber = None
        if config.disturbances is not None:
            noises = load_noises(
                config.disturbances.noise,
                data=config.data,
                sample_rate=SAMPLE_RATE,
                leave_out_splits=config.leave_out_splits,
            )
            voices = CorpusVoices(corpus, self.training)
            self.disturber = Disturber(config.disturbances, noises, voices, SAMPLE_RATE)
        self.consistency = None
        self.pairs = config.consistency is not None and config.consistency.pairs
        if config.consistency is not None:
            hop_length = math.prod(model.conv_stride)
            self.consistency = ConsistencyLoss(config.consistency, model.hidden_size, hop_length, run.device)

    def step(self, step: int) -> dict[str, Tensor]:
        """One step of the optimiser: the loss, and the accuracy of each layer."""
        if step > self.config.second_round_step and not self.second_round:
            self._start_second_round(restart=step == self.config.second_round_step + 1)
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate_at(step)
        self.network.train()
        accelerator = self.run.accelerator
        for share in self.run.shares():
            clean, waveforms, clips, starts = self._batch(step, share)
            with accelerator.accumulate(self.network):
                generator = seeded(self.config.seed, step, share)
                numbers = self._predict(self.network, clean, waveforms, clips, starts, generator)
                accelerator.backward(numbers["loss"])
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.network.parameters(), 5.0)
                self.optimizer.step()
                self.optimizer.zero_grad()
        return numbers

    def _batch(self, step: int, share: int) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
        """Clean crops and what is heard of them, both [batch, samples], clip numbers, first frames: the same for a step
        and share in any run."""
        number = (step - 1) * self.run.shares_a_step + share
        clips = next(batch for position, batch in self.plan if position == number)
        generator = np.random.default_rng((self.config.seed, step, share))
        crops, starts = crop_batch(self.corpus, clips, self.crop, HOP_LENGTH, generator)
        clean = normalize(crops)
        if self.disturber is None or self.config.disturbances is None:
            return clean, clean, clips, starts
        disturbed = generator.random(len(clean)) < (1 if self.pairs else self.config.disturbances.clips)
        noisy = [
            normalize(self.disturber.disturb(crop, generator)) if chosen else crop
            for crop, chosen in zip(clean, disturbed.tolist(), strict=True)
        ]
        waveforms = torch.stack(noisy)
        return clean, torch.cat([clean, waveforms]) if self.pairs else waveforms, clips, starts

    def _predict(
        self,
        network: nn.Module,
        clean: Tensor,
        waveforms: Tensor,
        clips: np.ndarray,
        starts: np.ndarray,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Losses of `waveforms`, what is heard of the `clean` crops; where there are twice as many, clean ones first.

        Returns:
            The sum of all losses; accuracy of each target where it counts, at masked or at visible frames, the mean
            squared error of each regression at visible ones, the cosine similarity to each teacher's features, and the
            parts of `ConsistencyLoss`.
        """
        config, device = self.config, self.run.device
        own_clean, copies = clean, len(waveforms) // len(clean)
        clean, clips, starts = clean.repeat(copies, 1), np.tile(clips, copies), np.tile(starts, copies)
        frames = int(self.unwrapped.model._get_feat_extract_output_lengths(waveforms.shape[1]))
        mask = draw_mask(len(waveforms), frames, config.mask_probability, config.mask_length, generator).to(device)
        estimates, features = network(waveforms.to(device), mask)
        outputs = iter(estimates)
        losses, numbers = [], {}
        for number, target in enumerate(config.targets):
            logits = next(outputs)
            wanted = self.classes.crop(number, clips, starts, frames).to(device)
            weights = torch.where(mask, 1.0, config.visible_weight) if target.masked else (~mask).float()
            loss = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), reduction="none")
            losses.append((loss * weights.flatten()).sum() / weights.sum().clamp(min=1))
            counted = mask if target.masked else ~mask
            numbers[f"layer_{target.layer}"] = (logits.argmax(-1) == wanted)[counted].float().mean()
        for part in config.regressions:
            estimate = next(outputs)
            error = (estimate.float() - self._acoustic(part, clean, frames).to(device)).square()[~mask].mean()
            losses.append(part.weight * error)
            numbers[f"{part.features}_{part.layer}"] = error
        for teacher, targets in zip(config.teachers, self.teachers, strict=True):
            estimate = next(outputs).float()
            wanted = targets.crop(clips, starts, frames, self.centre).to(device)
            similarity = F.cosine_similarity(estimate, wanted, dim=-1).mean()
            losses.append(teacher.weight * ((estimate - wanted).abs().mean() + 1 - similarity))
            numbers[f"teacher_{teacher.at}"] = similarity
        if self.consistency is not None:
            loss, parts = self.consistency(features, own_clean.to(device))
            losses.append(loss)
            numbers |= parts
        return {"loss": torch.stack(losses).sum(), **numbers}

    def _acoustic(self, part: Regression, waveforms: Tensor, frames: int) -> Tensor:
        """An acoustic feature of waveforms [batch, samples], around the centre of each frame: [batch, frames, dim]."""
        shift = max(0, int(self.centre) - HOP_LENGTH // 2)
        return torch.stack([self.standard[part.features](waveform[shift:])[:frames] for waveform in waveforms])

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """Mean loss and accuracies over whole validation clips, clean and, if the config says so, all disturbed.

        `valid_loss` is then the mean of both, or that of the pairs; the disturbances of a clip are the same each time.
        """
        self.unwrapped.eval()
        totals: dict[str, list[float]] = {}
        for clip in self.validation:
            clean = normalize(self.corpus.waveform(clip))[None]
            versions = {"valid": clean}
            if self.disturber is not None:
                generator = np.random.default_rng((self.config.seed, int(clip)))
                disturbed = normalize(self.disturber.disturb(clean[0], generator))[None]
                versions |= {"valid": torch.cat([clean, disturbed])} if self.pairs else {"valid_disturbed": disturbed}
            for kind, waveform in versions.items():
                numbers = self._predict(
                    self.unwrapped, clean, waveform, np.array([clip]), np.array([0]), seeded(int(clip))
                )
                for name, value in numbers.items():
                    totals.setdefault(f"{kind}_{name}", []).append(float(value))
        means = {name: float(np.nanmean(values)) for name, values in totals.items()}
        if self.disturber is None or self.pairs:
            return means
        both = (means["valid_loss"] + means["valid_disturbed_loss"]) / 2
        return {"valid_loss": both, "valid_clean_loss": means.pop("valid_loss"), **means}

    def export(self, folder: Path) -> None:
        """Saves the encoder in transformers' layout, with a feature extractor that normalises as the training does."""
        from safetensors.torch import save_file
        from transformers import Wav2Vec2FeatureExtractor

        folder.mkdir(exist_ok=True)
        self.unwrapped.model.config.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE, do_normalize=True).save_pretrained(folder)
        with atomic_write(folder / "model.safetensors") as aside:
            save_file(self.unwrapped.model.state_dict(), aside, {"format": "pt"})

    def _start_second_round(self, *, restart: bool) -> None:
        """New classes for the masked targets, by this encoder's own features; their heads `restart` with them."""
        self.unwrapped.eval()

        @torch.no_grad()
        def features(clip: int) -> Tensor:
            waveform = normalize(self.corpus.waveform(clip)).to(self.run.device)
            return self.unwrapped.features(waveform, self.config.second_round_layer).float().cpu()

        self.classes.values = self.run.stored(
            f"second_round-{self.corpus.digest}", lambda: self.classes.second_round(features)
        )
        self.second_round = True
        for number, target in enumerate(self.config.targets):
            if target.masked and restart:
                self.unwrapped.restart_head(number, self.config.seed + 2)
