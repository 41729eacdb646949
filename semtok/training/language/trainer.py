"""Training of a language model on tokens, and what it is worth beside n-grams."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semtok.language.model import LanguageModelConfig, SpeechLanguageModel
from semtok.language.packing import pack
from semtok.language.vocabulary import UnitVocabulary
from semtok.support.atomic import atomic_write
from semtok.tokens import Tokens
from semtok.training.language.config import LanguageConfig
from semtok.training.language.measurement import draw_wrong_orders, measure
from semtok.training.language.sources import Utterances, load_utterances
from semtok.training.run import Run, train
from semtok.vocoder import Vocoder


def train_language(config: LanguageConfig) -> None:
    """Trains a language model and saves it to `<folder>/model`, the best one to `<folder>/best`; resumes.

    What the best one is worth on the test clips, beside n-grams, is in `<folder>/test.json`.

    Raises:
        TokensError, LayerError: no tokens, too few, or those of another checkpoint.
        CheckpointError, ConfigError, TextError: the checkpoint, the config, or the file of words does not do.
    """
    run = Run(config.folder, precision=config.precision, gradient_accumulation=config.gradient_accumulation)
    vocoder = Vocoder.from_pretrained(config.checkpoint)
    layers = [vocoder.layers[-1]] if config.layers is None else config.layers
    vocabulary = UnitVocabulary.of(vocoder, layers=layers, max_duration=config.max_duration)
    utterances = load_utterances(config, vocabulary)
    orders = draw_wrong_orders(utterances.test, config)
    trainer = LanguageTrainer(config, run, vocabulary, utterances)
    settings = dataclasses.asdict(config)
    train(run, trainer, config, seed=config.seed, settings=settings, step_name="language", product="model")
    if run.is_main and not (run.folder / "test.json").exists():
        best = SpeechLanguageModel.from_pretrained(run.folder / "best", device=run.device)
        result = measure(best, utterances, orders)
        with atomic_write(run.folder / "test.json") as aside:
            aside.write_text(json.dumps(result, indent=2) + "\n")
    run.finish()


class LanguageTrainer:
    """Network and optimiser of a run."""

    def __init__(self, config: LanguageConfig, run: Run, vocabulary: UnitVocabulary, utterances: Utterances) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        self.config, self.run = config, run
        self._sequences = [vocabulary.to_ids(utterance.tokens)[0] for utterance in utterances.training]
        self._validation_tokens = Tokens.cat([utterance.tokens for utterance in utterances.validation])
        entries = {"model_type": "llama", "max_position_embeddings": config.length} | config.model
        shape = AutoConfig.for_model(
            entries.pop("model_type"),
            vocab_size=len(vocabulary),
            bos_token_id=vocabulary.begin_id,
            eos_token_id=vocabulary.end_id,
            **entries,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = AutoModelForCausalLM.from_config(shape)
        optimizer = torch.optim.AdamW(
            network.parameters(), config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
        )
        self.network, self.optimizer = run.accelerator.prepare(network, optimizer)
        self.description = LanguageModelConfig(1, config.checkpoint, vocabulary)
        rows = -(-sum(map(len, self._sequences)) // config.length)
        self._batches_an_epoch = max(1, rows // config.batch_size)
        self._packed: tuple[int, Any, np.ndarray] | None = None  # epoch, rows, their order

    def step(self, step: int) -> dict[str, Tensor]:
        """One step of the optimiser."""
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate_at(step)
        self.network.train()
        accelerator = self.run.accelerator
        for share in self.run.shares():
            batch = self._batch((step - 1) * self.run.shares_a_step + share)
            with accelerator.accumulate(self.network):
                loss = self.network(**batch, use_cache=False).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.network.parameters(), 1.0)
                self.optimizer.step()
                self.optimizer.zero_grad()
        return {"bits": loss / np.log(2)}

    def _batch(self, number: int) -> dict[str, Tensor]:
        """Batch `number` of the run: the same each time."""
        epoch, place = divmod(number, self._batches_an_epoch)
        if self._packed is None or self._packed[0] != epoch:
            generator = np.random.default_rng((self.config.seed, epoch))
            sequences = [self._sequences[sequence] for sequence in generator.permutation(len(self._sequences))]
            packed = pack(sequences, self.config.length, padding_id=self.description.vocabulary.end_id)
            self._packed = epoch, packed.with_format("torch"), generator.permutation(len(packed))
        _, rows, order = self._packed
        chosen = order[place * self.config.batch_size : (place + 1) * self.config.batch_size]
        return {name: column.to(self.run.device) for name, column in rows[chosen.tolist()].items()}

    def validate(self, step: int) -> dict[str, float]:
        """Bits an id of the validation clips, each read from its beginning, and bits a second."""
        bits = torch.cat(self._model().bits(self._validation_tokens))
        seconds = float(self._validation_tokens.durations.sum())
        return {"valid_bits": float(bits.mean()), "valid_bits_per_second": float(bits.sum()) / seconds}

    def export(self, folder: Path) -> None:
        """Saves the model."""
        model = self._model()
        if self.config.half_precision:
            model.network.half()
        model.save_pretrained(folder)

    def _model(self) -> SpeechLanguageModel:
        """The model as it is now: of a copy of the network, as that of a model is frozen."""
        return SpeechLanguageModel(copy.deepcopy(self.run.accelerator.unwrap_model(self.network)), self.description)
