"""The discriminators of a vocoder's training: how they learn, what they say to the generator, and who is winning."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from semtok.encoder.encoder import Encoder
from semtok.errors import ConfigError
from semtok.training.data.corpus import seeded
from semtok.training.run import Run
from semtok.training.vocoder.config import VocoderTrainingConfig
from semtok.training.vocoder.discriminators import Discriminators
from semtok.training.vocoder.losses import discriminator_loss, feature_matching_loss, generator_loss, rotate_phases

logger = logging.getLogger(__name__)

# Of the gradient's norm: about 0.2 in the first 150 steps of relativistic pairs, with peaks of 2.
_CLIP = 1.0
# Of the running share of crops told apart: about the last 20 batches.
_DECAY = 0.95
# Steps of the generator, and of the discriminators, after which each is looked at; the shares that are worth a word.
_EARLY, _AT_ONCE = 100, 0.98
_LATE, _NEVER = 1000, 0.6


class Adversary:
    """Discriminators, their optimiser, and the share of crops that each tells apart: those of which the real one has
    the higher mean score than the one generated from its tokens; 0.5 is chance.

    Raises:
        ConfigError: `feature_layers` names layers that the encoder lacks, or the encoder does not hear waveforms.
    """

    def __init__(self, config: VocoderTrainingConfig, run: Run, encoder: Encoder) -> None:
        self.config, self.run = config, run
        features = frozen_features(encoder, config.feature_layers) if config.feature_layers else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            discriminators = Discriminators(
                config.periods,
                config.period_channels,
                config.scales,
                config.windows,
                config.spectrogram_channels,
                config.spectrogram_stride,
                features=features,
                feature_layers=config.feature_layers,
                feature_dim=encoder.dim,
                feature_channels=config.feature_channels,
            )
        self.names = discriminators.names
        optimizer = vocoder_optimizer(discriminators, config)
        self.discriminators, self.optimizer = run.accelerator.prepare(discriminators, optimizer)
        self.shares = Shares(len(self.names)).to(run.device)
        run.accelerator.register_for_checkpointing(self.shares)
        self._rotate: Callable[[Tensor], Tensor] = lambda waveforms: waveforms

    def draw(self, step: int, share: int, waveforms: Tensor) -> None:
        """Draws what is drawn for a batch of waveforms [batch, samples]: how phases are rotated, if they are."""
        if self.config.rotate_phases:
            self._rotate = rotate_phases(waveforms, seeded(self.config.seed, step, share, 1))

    def learn(self, step: int, generated: Tensor, waveforms: Tensor) -> dict[str, Tensor]:
        """Updates the discriminators once; their loss, and the running share of crops that each tells apart."""
        config, accelerator = self.config, self.run.accelerator
        real, generated = self._rotate(waveforms), self._rotate(generated)
        judged = self.discriminators(torch.cat([real, generated]))
        of_real, of_generated = zip(*(score.chunk(2) for score, _ in judged), strict=True)
        loss = discriminator_loss(of_real, of_generated, relativistic=config.relativistic)
        accelerator.backward(loss)
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(self.discriminators.parameters(), _CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        apart = [
            (_of_crops(r, len(waveforms)) > _of_crops(g, len(waveforms))).float().mean()
            for r, g in zip(of_real, of_generated, strict=True)
        ]
        self.shares.add(accelerator.reduce(torch.stack(apart), "mean"), config.matching_share)
        if self.run.is_main:
            self._warn(step - config.adversarial_step)
        return {
            "discriminator": loss,
            **{f"apart_{n}": s for n, s in zip(self.names, self.shares.running, strict=True)},
        }

    def judge(self, generated: Tensor, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """The generator's adversarial loss and feature matching loss.

        The gradient of the losses passes through the discriminators to the generator, and leaves the parameters of the
        discriminators without a gradient. Hence the unwrapped module: the wrapper of several processes would wait for
        the gradients of these parameters.
        """
        config = self.config
        discriminators = self.run.accelerator.unwrap_model(self.discriminators)
        discriminators.requires_grad_(False)
        real, generated = self._rotate(waveforms), self._rotate(generated)
        with torch.no_grad():
            wanted_scores, wanted_maps = zip(*discriminators(real), strict=True)
        scores, maps = zip(*discriminators(generated), strict=True)
        adversarial = generator_loss(wanted_scores, scores, relativistic=config.relativistic)
        counts = self.shares.reached.tolist() if config.matching_share else [True] * len(maps)
        matching = feature_matching_loss(wanted_maps, maps, counts, relative=config.relative_feature_matching)
        discriminators.requires_grad_(True)
        return adversarial, matching

    def _warn(self, steps: int) -> None:
        """A word in the log on discriminators that have won or not learnt, after so many steps of theirs."""
        alone = self.config.discriminator_steps
        for name, share in zip(self.names, self.shares.running.tolist(), strict=True):
            if steps == alone + _EARLY and share >= _AT_ONCE:
                logger.warning(
                    "the discriminator %s tells %.0f %% of crops apart %d steps after the generator came in: it has "
                    "won. If that stays and speech does not get better, lower discriminator_learning_rate_factor or "
                    "discriminator_steps, or leave it out",
                    name, 100 * share, _EARLY,
                )  # fmt: skip
            if steps == max(_LATE, alone) and share < _NEVER:
                logger.warning(
                    "the discriminator %s tells %.0f %% of crops apart after %d steps, half are chance: it does not "
                    "learn. Raise discriminator_learning_rate_factor or discriminator_steps, or leave it out",
                    name, 100 * share, steps,
                )  # fmt: skip


class Shares(nn.Module):
    """Running shares of crops told apart, float32 [discriminators], and which of them ever reached a share."""

    running: Tensor
    reached: Tensor

    def __init__(self, discriminators: int) -> None:
        super().__init__()
        self.register_buffer("running", torch.full((discriminators,), 0.5))
        self.register_buffer("reached", torch.zeros(discriminators, dtype=torch.bool))

    def add(self, shares: Tensor, enough: float) -> None:
        """Takes in the shares of a batch."""
        self.running = self.running.lerp(shares, 1 - _DECAY)
        self.reached |= self.running >= enough


def frozen_features(encoder: Encoder, layers: Sequence[int]) -> Callable[[Tensor], list[Tensor]]:
    """Waveforms [batch, samples] -> features [batch, frames, dim] of some layers of an encoder, with the gradient of
    the waveforms, which `Encoder` itself does not give; the statistics that it normalises by count as constants.

    Raises:
        ConfigError: the encoder lacks a layer.
    """
    if wrong := [layer for layer in layers if not 1 <= layer <= encoder.num_layers]:
        raise ConfigError(f"feature_layers must be in 1 ... {encoder.num_layers}, as the encoder has them, got {wrong}")
    model = copy.deepcopy(encoder.model)

    def features(waveforms: Tensor) -> list[Tensor]:
        samples = waveforms.shape[1]
        valid = torch.ones(len(waveforms), encoder.frame_count(samples), dtype=torch.bool, device=waveforms.device)
        # Not by `Encoder.statistics`: tensors of inference mode have no place in a gradient.
        statistics = []
        for waveform in waveforms.detach():
            running = encoder.running_statistics()
            running.add(waveform)
            statistics.append(running.current())
        states = [model.embed(waveforms, [samples] * len(waveforms), valid, statistics)]
        terms = model.attention_terms(valid.shape[1], None)
        for layer in model.encoder.layers[: max(layers)]:
            states.append(layer(states[-1], *terms))
        return [states[layer] for layer in layers]

    return features


def vocoder_optimizer(module: nn.Module, config: VocoderTrainingConfig) -> torch.optim.AdamW:
    """That of the generator and of the discriminators."""
    return torch.optim.AdamW(module.parameters(), config.learning_rate, betas=(0.8, 0.99), weight_decay=0.01)


def _of_crops(scores: Tensor, crops: int) -> Tensor:
    """The mean score of each crop, [crops]."""
    return scores.detach().float().reshape(crops, -1).mean(1)
