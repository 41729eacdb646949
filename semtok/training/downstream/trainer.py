"""Training of any task: tokens made once, then a network on them."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semtok.checkpoints.config import FORMAT_VERSION
from semtok.codebooks.codebooks import Codebooks
from semtok.downstream.config import DownstreamConfig
from semtok.downstream.model import DownstreamModel
from semtok.networks.selector import LayerSelector
from semtok.tokenizer import Tokenizer
from semtok.training.data.corpus import length_batches
from semtok.training.downstream.clips import load_clips
from semtok.training.downstream.config import TaskConfig
from semtok.training.downstream.objective import Batch, Objective
from semtok.training.downstream.results import Measured, write_results
from semtok.training.run import Run, train


def train_task(kind: type[Objective[Any]], config: TaskConfig, tokenizer: Tokenizer) -> None:
    """Trains a model of a task and saves it to `<folder>/model`, the best one to `<folder>/best`; resumes.

    What the best one is worth on the clips of `test_splits` is in `<folder>/test.json`, with intervals of 95 %, and
    beside it on those of validation, by which models are chosen; the errors of each clip are in `test_clips.csv`.

    Args:
        kind: what the model is trained by.
        config: of the run.
        tokenizer: the one that the config names, with all of its layers.

    Raises:
        AudioError: no clips, or none with what the task needs.
        ConfigError, CheckpointError, LayerError: the config or the tokenizer does not do.
    """
    schedule = config.schedule
    run = Run(config.folder, precision=schedule.precision, gradient_accumulation=schedule.gradient_accumulation)
    tokenizer = tokenizer.to(run.device)
    codebooks = config.data.select(tokenizer.codebooks)
    clips = load_clips(
        config.data,
        tokenizer,
        run.folder.parent / "tokens",
        augmented_splits=kind.augments(config.data),
        targets_are_codes=kind.learns_codes,
        seed=config.seed,
        processes=run.processes,
    )
    front = dataclasses.replace(
        config.network.front,
        feature_dim=tokenizer.encoder.dim if config.data.features else None,
        any_layers=config.batches.layer_dropout > 0,
    )
    description = DownstreamConfig(
        FORMAT_VERSION,
        kind.model.task,
        config.tokenizer,
        tokenizer.fingerprint,
        codebooks,
        tokenizer.sample_rate,
        tokenizer.hop_length,
        front,
        {},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        objective = kind(config, clips, description)
        selector = objective.network.front.selector
        if config.network.tables_from_centroids:
            start_tables(selector, tokenizer, codebooks)
        if config.network.freeze_tables:
            selector.embeddings.requires_grad_(False)
    trainer = TaskTrainer(config, run, objective)
    train(
        run,
        trainer,
        schedule,
        seed=config.seed,
        settings=dataclasses.asdict(config),
        step_name=kind.model.task,
        product="model",
    )
    if run.is_main and objective.test_clips and not (run.folder / "test.json").exists():
        trainer.test()
    run.finish()


def start_tables(selector: LayerSelector, tokenizer: Tokenizer, codebooks: Codebooks) -> None:
    """Starts the tables of a selector from the tokenizer's centroids."""
    selector.start_from(
        [
            tokenizer.centroids(layer, stage + 1).cpu()
            for layer, sizes in codebooks.items()
            for stage in range(len(sizes))
        ]
    )


class TaskTrainer:
    """Network and optimiser of a task's run."""

    def __init__(self, config: TaskConfig, run: Run, objective: Objective[Any]) -> None:
        self.config, self.run = config, run
        parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, config.schedule.learning_rate, betas=(0.9, 0.98), weight_decay=config.schedule.weight_decay
        )
        self.objective, self.optimizer = run.accelerator.prepare(objective, optimizer)
        self.unwrapped: Objective[Any] = run.accelerator.unwrap_model(self.objective)
        frames_a_second = objective.description.sample_rate / objective.description.hop_length
        self.plan = enumerate(
            length_batches(
                objective.clips.frames,
                np.array(objective.training_clips),
                int(config.batches.batch_seconds * frames_a_second),
                objective.crop_frames,
                np.random.default_rng(config.seed),
            )
        )
        self.batch_frames = int(config.batches.batch_seconds * frames_a_second)
        self.importance: tuple[float, ...] = ()

    def step(self, step: int) -> dict[str, Tensor]:
        """One step of the optimiser."""
        self.optimizer.param_groups[0]["lr"] = self.config.schedule.learning_rate_at(step)
        self.objective.train()
        accelerator = self.run.accelerator
        for share in self.run.shares():
            number = (step - 1) * self.run.shares_a_step + share
            clips = next(batch for position, batch in self.plan if position == number)
            generator = np.random.default_rng((self.config.seed, step, share))
            crops = [self.unwrapped.draw(int(clip), generator) for clip in clips]
            batch = _to(self.unwrapped.batch(crops, generator), self.run.device)
            with accelerator.accumulate(self.objective):
                numbers: dict[str, Tensor] = self.objective(batch)
                accelerator.backward(next(iter(numbers.values())))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.objective.parameters(), 5.0)
                self.optimizer.step()
                self.optimizer.zero_grad()
        return numbers

    def validate(self, step: int) -> dict[str, float]:
        """The task's numbers over whole validation clips, and the mean share of each layer."""
        _, measured, self.importance = self._run_on(self.unwrapped.validation_clips)
        numbers = self.unwrapped.summarize(measured)
        weights = zip(self.unwrapped.description.codebooks, self.importance, strict=True)
        return {f"valid_{name}": number for name, number in numbers.items()} | {
            f"weight_{layer}": weight for layer, weight in weights
        }

    def _measure(self, clips: list[int]) -> Measured:
        order, measured, importance = self._run_on(clips)
        objective = self.unwrapped
        return Measured(
            order,
            objective.summarize(measured),
            objective.intervals(measured),
            objective.clip_errors(measured),
            importance,
        )

    @torch.no_grad()
    def _run_on(self, clips: list[int]) -> tuple[list[int], list[Any], tuple[float, ...]]:
        """Whole clips in the order of measuring, what is to be known of each batch, and the mean shares of layers."""
        objective = self.unwrapped.eval()
        order = sorted(clips, key=lambda clip: objective.clips.frames_of(clip))
        ordered: list[int] = []
        measured, weights, frames = [], torch.zeros(len(objective.description.codebooks)), 0
        while order:
            longest = objective.clips.frames_of(order[-1])
            size = max(1, self.batch_frames // longest)
            ordered += order[-size:]
            crops, order = [objective.whole(clip) for clip in order[-size:]], order[:-size]
            batch = _to(objective.batch(crops), self.run.device)
            measured.append(objective.measure(batch))
            _, shares = objective.network.front(batch["inputs"], batch["lengths"])
            weights += shares.sum(dim=(0, 2)).cpu()
            frames += int(batch["lengths"].sum())
        return ordered, measured, tuple((weights / frames).tolist())

    def test(self) -> None:
        """Measures the best model on the test clips, and on those of validation."""
        best = DownstreamModel.from_pretrained(self.run.folder / "best", device=self.run.device)
        self.unwrapped.network.load_state_dict(best.network.state_dict())
        test, valid = self._measure(self.unwrapped.test_clips), self._measure(self.unwrapped.validation_clips)
        paths = [row["path"] for row in self.unwrapped.clips.rows]
        write_results(self.run.folder, test, valid, list(best.layers), paths)

    def export(self, folder: Path) -> None:
        """Saves the model."""
        objective = self.unwrapped
        weighs = objective.description.front.fusion != "uniform"
        description = dataclasses.replace(
            objective.description,
            head=objective.final_head(),
            layer_importance=self.importance if weighs else (),
        )
        network = copy.deepcopy(objective.network)
        objective.finish(network)
        model = objective.model(description, network.half().float() if self.config.network.half_precision else network)
        objective.complete(model)
        model.save_pretrained(folder)


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
