"""Training of the scalable vocoder: layers dropped at random, spectral losses first, then adversarial ones as well."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semtok.config import VocoderConfig
from semtok.modules.scalable_vocoder import ScalableVocoder
from semtok.tokenizer import Tokenizer
from semtok.training.config import VocoderTrainingConfig
from semtok.training.data import Corpus, load_corpus
from semtok.training.discriminators import Discriminators
from semtok.training.losses import MelLoss, discriminator_loss, feature_matching_loss, generator_loss
from semtok.training.run import Run, best_device, steps_with_progress
from semtok.vocoder import Vocoder, build_network


def draw_present(batch: int, layers: int, generator: torch.Generator) -> Tensor:
    """Layer dropout (Mousavi et al., 2024, section 2.3): bool [batch, layers], False for dropped layers.

    For each utterance n is uniform in 0 ... layers - 1, and n layers are dropped, never all.
    """
    dropped = torch.randint(0, layers, (batch, 1), generator=generator)
    ranks = torch.rand(batch, layers, generator=generator).argsort(1).argsort(1)
    return ranks >= dropped


@dataclass(frozen=True)
class TokenCorpus:
    """A corpus with the codes of all its clips, int16 [layers, frames], addressed by `frame_starts`."""

    corpus: Corpus
    codes: Tensor
    frame_starts: np.ndarray
    gains: np.ndarray
    hop_length: int

    @classmethod
    def encode(cls, corpus: Corpus, tokenizer: Tokenizer, rms: float, saved: dict[str, Tensor] | None) -> TokenCorpus:
        """Tokens of every clip, or those `saved` by an earlier run of the same tokenizer."""
        frames = np.array([tokenizer.encoder.frame_count(int(length)) for length in corpus.lengths])
        gains = np.array([loudness_gain(corpus.waveform(clip), rms) for clip in range(len(corpus))])
        codes = saved["codes"] if saved else encode_corpus(corpus, tokenizer)
        return cls(corpus, codes, np.concatenate([[0], np.cumsum(frames)]), gains, tokenizer.hop_length)

    def crop(self, clip: int, start: int, frames: int) -> tuple[Tensor, Tensor]:
        """Codes int64 [layers, frames] from frame `start` of a clip, and their samples at the common loudness."""
        first = self.frame_starts[clip] + start
        waveform = self.corpus.waveform(clip, start * self.hop_length, frames * self.hop_length)
        return self.codes[:, first : first + frames].long(), waveform * float(self.gains[clip])

    def batches(self, clips: np.ndarray, config: VocoderTrainingConfig, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless batches: codes [batch, layers, frames], waveforms [batch, samples]; step n always gives the same."""
        frames = np.diff(self.frame_starts)
        for step in itertools.count(first + 1):
            size, length = config.shape(step)
            generator = np.random.default_rng((config.seed, step))
            long_enough = clips[frames[clips] >= length]
            # By duration, so that every second of speech is as likely as any other.
            chances = frames[long_enough] / frames[long_enough].sum()
            chosen = generator.choice(long_enough, size, p=chances)
            crops = [self.crop(clip, int(generator.integers(0, frames[clip] - length + 1)), length) for clip in chosen]
            yield torch.stack([codes for codes, _ in crops]), torch.stack([waveform for _, waveform in crops])


def loudness_gain(waveform: Tensor, rms: float) -> float:
    """Brings a clip to a root mean square of `rms`, less where its peak would pass 0.95.

    The encoder normalises its input, so tokens do not say how loud a clip was; without a common loudness the vocoder
    would have to guess it.
    """
    loudness = float(waveform.square().mean().sqrt())
    return min(rms / max(loudness, 1e-5), 0.95 / max(float(waveform.abs().max()), 1e-5))


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer) -> Tensor:
    """Codes of all clips, int16 [layers, frames]."""
    codes = []
    for step, _ in steps_with_progress(0, len(corpus), "tokens"):
        codes.append(tokenizer.encode(corpus.waveform(step - 1)).codes[0].short().cpu())
    return torch.cat(codes, dim=1)


def train_vocoder(config: VocoderTrainingConfig) -> None:
    """Trains a vocoder and saves it with its tokenizer to `<folder>/checkpoint`; resumes where it stopped."""
    run, device = Run(config.folder), best_device()
    tokenizer = Tokenizer.from_pretrained(config.tokenizer, device=device)
    corpus = load_corpus(config.data, run.folder.parent / "audio", sample_rate=tokenizer.sample_rate)
    tokens = TokenCorpus.encode(corpus, tokenizer, config.target_rms, run.load("tokens"))
    run.save({"codes": tokens.codes}, "tokens")
    tokenizer.save_pretrained(run.folder / "checkpoint")
    training, validation = corpus.split(config.validation_clips, config.seed)
    trainer = VocoderTrainer(config, tokenizer, device)
    first = trainer.load(run.load(device=device))
    batches = tokens.batches(training, config, first)
    for step, show in steps_with_progress(first, config.steps, "vocoder"):
        numbers = trainer.step(step, *(part.to(device) for part in next(batches)))
        if step % 20 == 0:
            show(**numbers)
            run.log(step, **numbers)
        if step % config.save_every == 0 or step == config.steps:
            run.save(trainer.state(step))
            run.log(step, **trainer.validate(tokens, validation))
            trainer.export().save_pretrained(run.folder / "checkpoint")


class VocoderTrainer:
    """Network, its running average, discriminators and optimisers of a vocoder run."""

    def __init__(self, config: VocoderTrainingConfig, tokenizer: Tokenizer, device: torch.device) -> None:
        self.config, self.device = config, device
        self.description = VocoderConfig(
            layers=tokenizer.layers,
            codebook_sizes=tokenizer.codebook_sizes,
            embedding_dim=config.embedding_dim,
            attention_dim=config.attention_dim,
            sample_rate=tokenizer.sample_rate,
            hop_length=tokenizer.hop_length,
            fingerprint=tokenizer.fingerprint,
            generator=config.generator,
        )
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.network: ScalableVocoder = build_network(self.description).to(device)
            if config.embeddings_from_centroids:
                self.network.selector.start_from([tokenizer.centroids(layer) for layer in tokenizer.layers])
            self.discriminators = Discriminators(
                config.periods, config.period_channels, config.windows, config.spectrogram_channels
            ).to(device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.mel = MelLoss(tokenizer.sample_rate).to(device)
        self.optimizer = self._optimizer(self.network)
        self.discriminator_optimizer = self._optimizer(self.discriminators)

    def _optimizer(self, module: nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(module.parameters(), self.config.learning_rate, betas=(0.8, 0.99), weight_decay=0.01)

    def state(self, step: int) -> dict[str, Any]:
        parts = ("network", "average", "discriminators", "optimizer", "discriminator_optimizer")
        return {"step": step, **{name: getattr(self, name).state_dict() for name in parts}}

    def load(self, state: dict[str, Any] | None) -> int:
        """Restores a saved state; returns the last step done."""
        if state is None:
            return 0
        for name in state.keys() - {"step"}:
            getattr(self, name).load_state_dict(state[name])
        return int(state["step"])

    def step(self, step: int, codes: Tensor, waveforms: Tensor) -> dict[str, float]:
        """One step on codes [batch, layers, frames] and waveforms [batch, samples]."""
        config = self.config
        for optimizer in (self.optimizer, self.discriminator_optimizer):
            optimizer.param_groups[0]["lr"] = config.learning_rate_at(step)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        present = draw_present(len(codes), codes.shape[1], generator).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            generated = self.network(codes, present=present).float()
        numbers: dict[str, float] = {}
        mel = self.mel(generated, waveforms)
        loss = config.mel_weight * mel
        if step > config.adversarial_step:
            adversarial, matching = self._play(generated, waveforms, numbers)
            loss = loss + adversarial + config.feature_matching_weight * matching
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        with torch.no_grad():
            decay = min(config.average_decay, step / (step + 100))
            for slow, fast in zip(self.average.parameters(), self.network.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        return {"mel": float(mel.detach()), **numbers}

    def _play(self, generated: Tensor, waveforms: Tensor, numbers: dict[str, float]) -> tuple[Tensor, Tensor]:
        """A step of the discriminators, then their judgement of the generator: adversarial and matching losses."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            loss = discriminator_loss(self.discriminators(waveforms)[0], self.discriminators(generated.detach())[0])
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        # The generator's gradient passes through the discriminators, but is not theirs.
        self.discriminators.requires_grad_(False)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            with torch.no_grad():
                _, real = self.discriminators(waveforms)
            scores, inner = self.discriminators(generated)
            adversarial, matching = generator_loss(scores), feature_matching_loss(real, inner)
        self.discriminators.requires_grad_(True)
        judged = {"discriminator": loss, "adversarial": adversarial, "matching": matching}
        numbers.update((name, float(value.detach())) for name, value in judged.items())
        return adversarial, matching

    def export(self) -> Vocoder:
        """A vocoder of the averaged network."""
        network = copy.deepcopy(self.average)
        return Vocoder(self.description, network.half().float() if self.config.half_precision else network)

    @torch.no_grad()
    def validate(self, tokens: TokenCorpus, clips: np.ndarray) -> dict[str, float]:
        """Mel loss of the averaged network on validation clips: from all layers and from each alone."""
        count = len(self.description.layers)
        subsets = {"all": list(range(count)), **{str(layer): [i] for i, layer in enumerate(self.description.layers)}}
        losses: dict[str, list[float]] = {name: [] for name in subsets}
        for clip in clips:
            frames = int(tokens.frame_starts[clip + 1] - tokens.frame_starts[clip])
            codes, waveform = (part.to(self.device)[None] for part in tokens.crop(clip, 0, frames))
            for name, positions in subsets.items():
                losses[name].append(float(self.mel(self.average(codes[:, positions], positions), waveform)))
        return {f"valid_mel_{name}": float(np.mean(values)) for name, values in losses.items()}
