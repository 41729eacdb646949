"""Training of rows of codes: mixtures of layers and their codebooks, by what the rows are for."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.lengths import frame_mask
from semtok.checkpoints.config import ENCODER
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import Repository, resolve
from semtok.encoder.encoder import Encoder
from semtok.errors import AudioError, TrainingError
from semtok.tokenizer import Tokenizer
from semtok.training.data.corpus import Corpus, length_batches, load_corpus, seeded
from semtok.training.kmeans.kmeans import KMeans
from semtok.training.run import Run, train
from semtok.training.tokens.config import TokensConfig
from semtok.training.tokens.losses import losses_of
from semtok.training.tokens.network import States, TokensNetwork, run_frozen
from semtok.training.tokens.rows import LearntRow, mean_distance, start_weights

# The few weights of a mixture move as far as centroids do only with larger steps.
_WEIGHTS_RATE = 10


def train_tokens(config: TokensConfig) -> None:
    """Learns rows and saves a tokenizer of them to `<folder>/tokenizer`, the best one to `<folder>/best`; resumes.

    Raises:
        ConfigError: settings that make no sense; no clip has what a loss needs.
        AudioError: no clip is short enough.
        TrainingError: fewer frames than codes; or as in `semtok.training.run.train`.
    """
    run = Run(config.folder, precision=config.precision, gradient_accumulation=config.gradient_accumulation)
    source = resolve(config.encoder, revision=config.encoder_revision)
    encoder = Encoder(read_encoder(source, max(config.layers)), normalize=config.normalize).to(run.device)
    corpus = load_corpus(
        config.data,
        run.folder.parent / "audio",
        sample_rate=encoder.sample_rate,
        leave_out_splits=config.leave_out_splits,
        processes=run.processes,
    )
    trainer = TokensTrainer(config, run, encoder, corpus, source)
    settings = dataclasses.asdict(config)
    train(run, trainer, config, seed=config.seed, settings=settings, step_name="tokens", product="tokenizer")
    run.finish()


class TokensTrainer:
    """Network, batches and optimiser of a run."""

    def __init__(self, config: TokensConfig, run: Run, encoder: Encoder, corpus: Corpus, source: Repository) -> None:
        self.config, self.run, self.encoder, self.corpus, self.source = config, run, encoder, corpus, source
        longest = int(config.longest_seconds * encoder.sample_rate)
        training, validation = corpus.split(config.validation_clips, config.seed)
        self.training, self.validation = (part[corpus.lengths[part] <= longest] for part in (training, validation))
        if not (len(self.training) and len(self.validation)):
            raise AudioError(f"no clip to train on or none to validate on has at most {config.longest_seconds} s")
        generator = np.random.default_rng(config.seed)
        batch_samples = int(config.batch_seconds * encoder.sample_rate)
        self.plan = enumerate(length_batches(corpus.lengths, self.training, batch_samples, longest, generator))
        depth = max(config.layers)
        top = nn.ModuleList(encoder.model.encoder.layers[number] for number in range(self._last_frozen, depth))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            losses, self.weights = self._losses()
        network = TokensNetwork(config.layers, self._start_rows(), losses, top)
        self.network, self.optimizer = run.accelerator.prepare(network.to(run.device), self._optimizer(network))
        self.unwrapped: TokensNetwork = run.accelerator.unwrap_model(self.network)

    def step(self, step: int) -> dict[str, Tensor]:
        """One step of the optimiser: the weighted sum of the losses, each of them, the share of codes in use since the
        last were revived, and how many were revived so far."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(step) * group["rate"]
        self.network.train()
        accelerator = self.run.accelerator
        for share in self.run.shares():
            number = (step - 1) * self.run.shares_a_step + share
            states = self._states(next(clips for place, clips in self.plan if place == number))
            with accelerator.accumulate(self.network):
                numbers = self.network(states, self.config.temperature_at(step))
                loss = self._weighted(numbers)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.network.parameters(), 5.0)
                self.optimizer.step()
                self.optimizer.zero_grad()
        for name, row in self._rows.items():
            counts = accelerator.reduce(row.counts, "sum")
            numbers[f"{name}_used"] = (counts > 0).float().mean()
            if step % self.config.revive_every == 0:
                row.revive(counts, self._draw_points(row, states, step))
            numbers[f"{name}_revived"] = row.revived.float()
        return {"loss": loss, **numbers}

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """Losses over the validation clips, the weighted sum first, and the weights of the layers of each row."""
        self.unwrapped.eval()
        totals: dict[str, float] = {}
        for clip in self.validation:
            numbers = self.unwrapped(self._states([clip]), self.config.temperature_at(step))
            for name, value in ({"loss": self._weighted(numbers)} | numbers).items():
                totals[f"valid_{name}"] = totals.get(f"valid_{name}", 0.0) + float(value) / len(self.validation)
        for name, weights in self._mixtures().items():
            totals |= {f"{name}_weight_{layer}": weight for layer, weight in weights.items()}
        return totals

    def export(self, folder: Path) -> None:
        """Saves an ordinary tokenizer; its encoder is copied, as that of a tokenizer is frozen."""
        own = self.config.trained_layers > 0 or self.source.folder is not None
        Tokenizer.from_centroids(
            copy.deepcopy(self.encoder.model).cpu(),
            {name: row.centroids.detach().float().cpu() for name, row in self._rows.items()},
            normalize=self.config.normalize,
            encoder=ENCODER if own else self.config.encoder,
            encoder_revision=None if own else self.config.encoder_revision,
            mixtures=self._mixtures(),
        ).save_pretrained(folder)

    @property
    def _last_frozen(self) -> int:
        """The layer above which those of the encoder learn."""
        return max(self.config.layers) - self.config.trained_layers

    @property
    def _rows(self) -> dict[str, LearntRow]:
        return dict(zip(self.unwrapped.names, cast("list[LearntRow]", list(self.unwrapped.rows)), strict=True))

    def _mixtures(self) -> dict[str, dict[int, float]]:
        return {
            name: dict(zip(self.config.layers, row.weights.detach().double().tolist(), strict=True))
            for name, row in self._rows.items()
        }

    def _weighted(self, numbers: dict[str, Tensor]) -> Tensor:
        return torch.stack([self.weights[name] * value for name, value in numbers.items()]).sum()

    def _states(self, clips: Sequence[int] | np.ndarray) -> States:
        waveforms = [self.corpus.waveform(int(clip)) for clip in clips]
        samples = torch.tensor([len(waveform) for waveform in waveforms])
        padded = pad_sequence(waveforms, batch_first=True).to(self.run.device)
        numbers = [int(clip) for clip in clips]
        return run_frozen(self.encoder, numbers, padded, samples, self.config.layers, self._last_frozen)

    @torch.no_grad()
    def _draw_points(self, row: LearntRow, states: States, step: int) -> Tensor:
        """Mixed features of as many frames as the row has codes, the same in all processes."""
        from accelerate.utils import broadcast

        features = self.unwrapped.features(states)
        frames = features[:, frame_mask(states.lengths, features.shape[2])]
        drawn = torch.randint(frames.shape[1], (len(row.counts),), generator=seeded(self.config.seed, step))
        points: Tensor = broadcast(row.mix(frames[:, drawn.to(frames.device)]).float())
        return points

    def _losses(self) -> tuple[dict[str, nn.ModuleDict], dict[str, float]]:
        """The losses of each row, and the weight of each by "row_loss"."""
        config, losses = self.config, {}
        weights = {f"{row.name}_use": row.use for row in config.rows}
        for row in config.rows:
            losses[row.name], of_row = losses_of(
                row,
                self.corpus.clips,
                self.training.tolist(),
                layers=len(config.layers),
                dim=self.encoder.dim,
                hidden=config.hidden,
                framing=self.encoder.framing,
            )
            weights |= {f"{row.name}_{loss}": weight for loss, weight in of_row.items()}
        return losses, weights

    def _optimizer(self, network: TokensNetwork) -> torch.optim.Adam:
        """Adam, whose groups have a `rate`: what their learning rate is beside that of the config."""
        config = self.config
        scores, top = [row.scores for row in network.rows], list(network.top.parameters())
        special = set(map(id, [*scores, *top]))
        groups = [
            {"params": [each for each in network.parameters() if id(each) not in special], "rate": 1.0},
            {"params": scores, "rate": _WEIGHTS_RATE},
            {"params": top, "rate": config.encoder_learning_rate / config.learning_rate},
        ]
        return torch.optim.Adam([group for group in groups if group["params"]], config.learning_rate)

    def _start_rows(self) -> dict[str, LearntRow]:
        """The rows as k-means on some of the data has them, computed once."""
        config = self.config
        weights = [start_weights(config.layers, row.start_layer) for row in config.rows]
        about = [(row.name, row.codebook_size, row.start_layer) for row in config.rows]
        settings = repr([about, config.layers, config.start_hours, config.seed])
        name = hashlib.sha256(f"{settings} {self.corpus.digest}".encode()).hexdigest()[:16]
        starts = self.run.stored(f"start-{name}", lambda: self._fit(weights))
        gumbel = config.assignment == "gumbel"
        return {
            row.name: LearntRow(of_row, centroids.clone(), spread.clone(), gumbel=gumbel)
            for row, of_row, centroids, spread in zip(config.rows, weights, starts[::2], starts[1::2], strict=True)
        }

    @torch.no_grad()
    def _fit(self, weights: list[Tensor]) -> list[Tensor]:
        """Centroids [codebook_size, dim] and mean squared distance to them of each row, one after the other."""
        config, corpus = self.config, self.corpus
        order = np.random.default_rng(config.seed).permutation(self.training)
        hours = np.cumsum(corpus.lengths[order]) / self.encoder.sample_rate / 3600
        mixtures = {
            row.name: dict(zip(config.layers, of_row.double().tolist(), strict=True))
            for row, of_row in zip(config.rows, weights, strict=True)
        }
        encoder = Encoder(self.encoder.model, normalize=config.normalize, mixtures=mixtures)
        parts = []
        for clip in order[: 1 + int(np.searchsorted(hours, config.start_hours))]:
            waveform = corpus.waveform(int(clip))[None].to(self.run.device)
            features, _ = encoder(waveform, torch.tensor([waveform.shape[1]]), list(mixtures))
            parts.append(features[0].half())
        starts: list[Tensor] = []
        for row, points in zip(config.rows, torch.cat(parts, dim=1), strict=True):
            if len(points) < row.codebook_size:
                raise TrainingError(
                    f"{len(points)} frames cannot start the {row.codebook_size} codes of row {row.name!r}: give more "
                    "data, a larger start_hours or a smaller codebook_size"
                )
            centroids = KMeans(row.codebook_size, iterations=10, seed=config.seed).fit(points).centroids_.float()
            starts += [centroids.cpu(), mean_distance(points.float(), centroids).cpu()]
        return starts
