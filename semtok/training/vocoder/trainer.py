"""Training of the scalable vocoder: layers dropped at random, spectral losses first, then adversarial ones as well."""

from __future__ import annotations

import copy
import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semtok.codebooks.layers import check_layers
from semtok.networks.config import VocoderConfig
from semtok.networks.scalable_vocoder import ScalableVocoder
from semtok.tokenizer import Tokenizer
from semtok.training.data.corpus import seeded
from semtok.training.run import Run, train
from semtok.training.vocoder.adversary import Adversary, vocoder_optimizer
from semtok.training.vocoder.config import VocoderTrainingConfig
from semtok.training.vocoder.losses import MelLoss, Spectra, StftLoss, balanced_loss
from semtok.training.vocoder.networks import start_network
from semtok.training.vocoder.speakers import load_embeddings
from semtok.training.vocoder.token_corpus import TokenCorpus, load_tokens
from semtok.vocoder import Vocoder

_SAMPLES = 3
_SAMPLE_WINDOW = 1024


def train_vocoder(config: VocoderTrainingConfig) -> None:
    """Trains a vocoder and saves it with its tokenizer to `<folder>/checkpoint`; resumes where it stopped.

    Raises:
        ConfigError, CheckpointError: `start_from` names a vocoder of another shape or tokenizer.
        LayerError: `single_layers` names a layer that the tokenizer lacks.
    """
    run = Run(config.folder, precision=config.precision, gradient_accumulation=config.gradient_accumulation)
    tokenizer = Tokenizer.from_pretrained(config.tokenizer, device=run.device)
    network, description = start_network(config, tokenizer)
    tokens = load_tokens(config, tokenizer, run, description)
    if config.speaker and config.speaker.embeddings:
        given = load_embeddings(config.speaker.embeddings, tokens.corpus.clips, config.speaker.dim)
        tokens = dataclasses.replace(tokens, embeddings=given)
    trainer = VocoderTrainer(config, run, tokenizer, tokens, network, description)
    settings = dataclasses.asdict(config)
    train(run, trainer, config, seed=config.seed, settings=settings, step_name="vocoder", product="checkpoint")
    run.finish()


def draw_present(
    batch: int, layers: int, generator: torch.Generator, *, single: float = 0.0, singles: Sequence[int] | None = None
) -> Tensor:
    """Layer dropout (Mousavi et al., 2024, section 2.3): bool [batch, layers], False for dropped layers.

    For each utterance n is uniform in 0 ... layers - 1, and n layers are dropped, never all. A share `single` of the
    utterances keeps one layer alone instead, of those at the positions `singles`, or of all.
    """
    dropped = torch.randint(0, layers, (batch, 1), generator=generator)
    ranks = torch.rand(batch, layers, generator=generator).argsort(1).argsort(1)
    present = ranks >= dropped
    if single > 0:
        positions = torch.tensor(singles or list(range(layers)))
        chosen = positions[torch.randint(0, len(positions), (batch, 1), generator=generator)]
        alone = torch.rand(batch, 1, generator=generator) < single
        present = torch.where(alone, torch.arange(layers) == chosen, present)
    return present


class VocoderTrainer:
    """Network, its running average, its optimiser and its adversary of a vocoder run."""

    def __init__(
        self,
        config: VocoderTrainingConfig,
        run: Run,
        tokenizer: Tokenizer,
        tokens: TokenCorpus,
        network: ScalableVocoder,
        description: VocoderConfig,
    ) -> None:
        self.config, self.run, self.tokenizer, self.tokens, self.description = (
            config,
            run,
            tokenizer,
            tokens,
            description,
        )
        singles = check_layers(config.single_layers or description.layers, description.layers, owner="the tokenizer")
        self.singles = [description.layers.index(layer) for layer in singles]
        self.training, self.validation = tokens.corpus.split(config.validation_clips, config.seed)
        self.epoch = max(1, len(self.training) // (config.adversarial_batch_size * run.shares_a_step))
        self.average = copy.deepcopy(network).requires_grad_(False).eval().to(run.device)
        self.mel = MelLoss(description.sample_rate, config.mel_resolutions).to(run.device)
        self.stft = StftLoss(config.stft_windows)
        self.sample_mel = MelLoss(description.sample_rate, [(_SAMPLE_WINDOW, 80)]).to(run.device)
        optimizer = vocoder_optimizer(network, config)
        self.network, self.optimizer = run.accelerator.prepare(network, optimizer)
        self.adversary = Adversary(config, run, tokenizer.encoder)
        run.accelerator.register_for_checkpointing(self.average)

    def step(self, step: int) -> dict[str, Tensor]:
        """One step of the generator's optimiser and, from the adversarial phase on, of the discriminators'; of theirs
        alone at first, if the config says so."""
        config = self.config
        rate = config.learning_rate_at(step, self.epoch)
        self.optimizer.param_groups[0]["lr"] = rate
        self.adversary.optimizer.param_groups[0]["lr"] = rate * config.discriminator_learning_rate_factor
        for share in self.run.shares():
            batch = self.tokens.batch(self.training, self.config, step, share)
            codes, waveforms, *voices = (part.to(self.run.device) for part in batch)
            present = draw_present(
                len(codes),
                len(self.description.layers),
                seeded(self.config.seed, step, share),
                single=self.config.single_layer_probability,
                singles=self.singles,
            )
            self.adversary.draw(step, share, waveforms)
            with self.run.accelerator.accumulate(self.network, self.adversary.discriminators):
                if config.trains_generator(step):
                    numbers = self._learn(step, codes, waveforms, present.to(self.run.device), *voices)
                else:
                    with torch.no_grad():
                        arguments = self._voice_arguments(*voices)
                        generated = self.network(codes, present=present.to(self.run.device), **arguments).float()
                    numbers = self.adversary.learn(step, generated, waveforms)
        if config.trains_generator(step):
            with torch.no_grad():
                decay = min(config.average_decay, step / (step + 100))
                for slow, fast in zip(self.average.parameters(), self.network.parameters(), strict=True):
                    slow.lerp_(fast, 1 - decay)
        return numbers

    def _learn(
        self, step: int, codes: Tensor, waveforms: Tensor, present: Tensor, voices: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Codes [batch, rows, frames], waveforms [batch, samples], present [batch, layers]; voices or None."""
        config, accelerator = self.config, self.run.accelerator
        generated = self.network(codes, present=present, **self._voice_arguments(voices)).float()
        spectra = Spectra(generated), Spectra(waveforms)
        mel = self.mel(*spectra)
        numbers, loss = {"mel": mel}, config.mel_weight * mel
        if config.stft_windows:
            numbers["stft"] = self.stft(*spectra)
            loss = loss + config.stft_weight * numbers["stft"]
        if step > config.adversarial_step:
            numbers |= self.adversary.learn(step, generated.detach(), waveforms)
            numbers["adversarial"], numbers["matching"] = self.adversary.judge(generated, waveforms)
            others = [
                (numbers["adversarial"], config.adversarial_weight),
                (numbers["matching"], config.feature_matching_weight),
            ]
            if config.balanced:
                loss = balanced_loss(generated, loss, others)
            else:
                loss = loss + sum(weight * other for other, weight in others)
        accelerator.backward(loss)
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return numbers

    def _voice_arguments(self, voices: Tensor | None = None) -> dict[str, Tensor]:
        """Waveforms or embeddings of the voices of a batch, as the network's argument."""
        if voices is None:
            return {}
        return {"reference" if self.tokens.embeddings is None else "speaker": voices}

    def export(self, folder: Path) -> None:
        """Saves the averaged network, and the tokenizer beside it."""
        # the config is the last file of a tokenizer to be written
        if not (folder / "config.json").exists():
            self.tokenizer.save_pretrained(folder)
        network = copy.deepcopy(self.average)
        Vocoder(self.description, network.half().float() if self.config.half_precision else network).save_pretrained(
            folder
        )

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """Mel loss of the averaged network on validation clips, from all layers and from each alone; samples.

        Without speakers, but for one more loss where there are some.
        """
        slices = self.description.codebooks.rows
        rows = {"all": (slice(None), list(range(len(slices))))}
        rows |= {str(layer): (of_layer, [i]) for i, (layer, of_layer) in enumerate(slices.items())}
        losses: dict[str, list[float]] = defaultdict(list)
        for number, clip in enumerate(self.validation):
            codes, waveform = (
                part.to(self.run.device)[None] for part in self.tokens.crop(clip, 0, self.tokens.frames[clip])
            )
            for name, (chosen, positions) in rows.items():
                generated = self.average(codes[:, chosen], positions)
                losses[f"valid_mel_{name}"].append(float(self.mel(Spectra(generated), Spectra(waveform))))
                if name == "all" and number < _SAMPLES:
                    self._show(f"clip_{number}/vocoder", generated, step)
                    self._show(f"clip_{number}/original", waveform, 0)
            if self.description.speaker:
                embeddings = self.tokens.embeddings
                voices = waveform if embeddings is None else embeddings[clip : clip + 1].to(self.run.device)
                generated = self.average(codes, **self._voice_arguments(voices))
                losses["valid_mel_speaker"].append(float(self.mel(Spectra(generated), Spectra(waveform))))
        return {name: float(np.mean(values)) for name, values in losses.items()}

    def _show(self, name: str, waveform: Tensor, step: int) -> None:
        """A waveform [1, samples] and its log-mel spectrogram on TensorBoard."""
        if self.run.board is None:
            return
        self.run.board.add_audio(name, waveform[0].clamp(-1, 1), step, self.description.sample_rate)
        bands = self.sample_mel.log_mel(Spectra(waveform), _SAMPLE_WINDOW)[0].T.flip(0)
        self.run.board.add_image(
            name, (bands - bands.min()) / (bands.max() - bands.min() + 1e-5), step, dataformats="HW"
        )
