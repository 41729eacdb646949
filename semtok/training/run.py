"""The runner of every training step: accelerate, a log, TensorBoard, states to resume from, and the loop."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from semtok.errors import TrainingError
from semtok.speech.store import Processes
from semtok.support.atomic import atomic_write
from semtok.support.disks import full_disk
from semtok.support.progress import steps_with_progress
from semtok.training.config import PRECISIONS, Schedule

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

_SETTINGS = "config.json"
# Entries of a config that a run may go on with other values of.
_FREE = ("folder", "steps", "save_every", "log_every", "keep")


class Run:
    """A training run in a folder, in as many processes as `accelerate launch` started; one by default.

    `log.jsonl` there has a line for each report, `tensorboard/` the same and samples, `states/` what to resume from.

    Attributes:
        folder: where the run writes; all processes must see it.
        accelerator: accelerate's; knows the device and the processes, and prepares models and optimisers.
        first: the last step done before this run began: 0, or that of the state resumed from.
    """

    def __init__(self, folder: str | Path, *, precision: str | None = None, gradient_accumulation: int = 1) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import InitProcessGroupKwargs

        # A run before this one in the same process may have had another precision, and has left its group of processes.
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(
            mixed_precision=None if precision is None else PRECISIONS[precision],
            gradient_accumulation_steps=gradient_accumulation,
            # What one process does for all, such as decoding a corpus, may take long.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=1))],
        )
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.first = 0
        self._writer = _import_writer() if self.is_main else None
        self._best: tuple[float, int] | None = None

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes; always so without `accelerate launch`."""
        return bool(self.accelerator.is_main_process)

    def shares(self) -> Iterator[int]:
        """The numbers of this process's batches of a step; those of all processes number them from 0.

        So n batches of one process are the same as one batch in each of n processes.
        """
        processes = self.accelerator.num_processes
        for batch in range(self.accelerator.gradient_accumulation_steps):
            yield batch * processes + self.accelerator.process_index

    @property
    def shares_a_step(self) -> int:
        return int(self.accelerator.gradient_accumulation_steps * self.accelerator.num_processes)

    @property
    def processes(self) -> Processes:
        """All processes of the run, as stores know them."""
        accelerator = self.accelerator
        return Processes(accelerator.process_index, accelerator.num_processes, accelerator.wait_for_everyone)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A block that the main process has left before the others enter."""
        with self.accelerator.main_process_first():
            yield

    @cached_property
    def board(self) -> SummaryWriter | None:
        """TensorBoard's writer, which drops what an earlier run wrote after step `first`.

        There is none in other processes than the main one, nor where TensorBoard cannot be imported.
        """
        if self._writer is None:
            return None
        return self._writer(self.folder / "tensorboard", purge_step=self.first + 1)

    def log(self, step: int, **numbers: float) -> None:
        """One line of `log.jsonl` and a TensorBoard scalar for each number."""
        if self.is_main:
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": step, "time": round(time.time(), 1), **numbers}) + "\n")
            if self.board is not None:
                for name, number in numbers.items():
                    self.board.add_scalar(name, number, step)

    def mean(self, numbers: dict[str, Tensor]) -> dict[str, float]:
        """The mean of each number over the processes."""
        return {name: float(self.accelerator.reduce(number.detach(), "mean")) for name, number in numbers.items()}

    def stored(self, name: str, make: Callable[[], list[Tensor]]) -> list[Tensor]:
        """The tensors that `make` returns, computed once by the main process and stored in a file of that name."""
        path = self.folder / f"{name}.pt"
        with self.main_first():
            if not path.exists():
                with atomic_write(path) as aside:
                    torch.save(make(), aside)
        tensors: list[Tensor] = torch.load(path, mmap=True, weights_only=True)
        return tensors

    def save(self, step: int, loss: float, *, keep: int, settings: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Saves all that was prepared or registered with the accelerator, and the random state of every process.

        The state appears whole, by a rename, before older ones go: all but the last `keep` and the one of least loss.
        `settings`, the entries of the config, are saved with the state.
        """
        states = self.folder / "states"
        aside = states / f".{_name(step)}"
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(aside))
        self.accelerator.wait_for_everyone()
        if self.is_main:
            if self.is_best(loss):
                self._best = (loss, step)
            assert self._best is not None
            (aside / "best.json").write_text(json.dumps(self._best), encoding="utf-8")
            (aside / _SETTINGS).write_text(json.dumps(dict(settings)), encoding="utf-8")
            os.replace(aside, states / _name(step))
            wanted = {_name(self._best[1]), *[state.name for state in sorted(states.glob("step-*"))[-keep:]]}
            for state in states.glob("step-*"):
                if state.name not in wanted:
                    # Renamed first, so that no half-deleted state looks whole.
                    os.replace(state, states / f".{state.name}")
            self._remove_leftovers()

    def resume(self, settings: Mapping[str, Any] = MappingProxyType({})) -> int:
        """Restores the last saved state into what was prepared or registered; returns its step, 0 without one.

        Raises:
            TrainingError: the state is damaged, or of a run with other `settings` that it does not fit.
        """
        states = self.folder / "states"
        if self.is_main:
            self._remove_leftovers()
        self.accelerator.wait_for_everyone()
        if saved := sorted(states.glob("step-*")):
            state = saved[-1]
            try:
                self.accelerator.load_state(str(state))
                loss, step = json.loads((state / "best.json").read_text(encoding="utf-8"))
            except (
                RuntimeError,
                ValueError,
                LookupError,
                OSError,
                EOFError,
                pickle.UnpicklingError,
                SafetensorError,
            ) as error:
                raise TrainingError(
                    f"cannot go on from {state}: {_differences(state, settings) or _first_words(error)}. Run with the "
                    f"config that it was begun with, or start anew: give another `folder`, or delete {states}"
                ) from error
            self.first = int(state.name.removeprefix("step-"))
            self._best = (loss, step)
        if self.is_main:
            self._forget_later_lines()
        return self.first

    def finish(self) -> None:
        """Ends the group of processes. Those that exit in the middle of it may abort, as gloo's threads need Python."""
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def is_best(self, loss: float) -> bool:
        """Whether no state saved so far has a lower loss."""
        return self._best is None or loss < self._best[0]

    def _remove_leftovers(self) -> None:
        for leftover in (self.folder / "states").glob(".step-*"):
            shutil.rmtree(leftover)

    def _forget_later_lines(self) -> None:
        """Drops from the log what an earlier run did after the state that this one resumes from."""
        log = self.folder / "log.jsonl"
        if log.exists():
            # not str.splitlines, which also splits at characters that JSON strings may hold
            with log.open(encoding="utf-8") as file:
                lines = [line for line in file if line.endswith("\n")]
            with atomic_write(log) as aside:
                aside.write_text(
                    "".join(line for line in lines if json.loads(line)["step"] <= self.first), encoding="utf-8"
                )


class Trainer(Protocol):
    """What `train` runs."""

    def step(self, step: int) -> dict[str, Tensor]:
        """One step of the optimisers; numbers to report, the loss first."""

    def validate(self, step: int) -> dict[str, float]:
        """Numbers over the validation clips, the one that decides which state is best first; main process only."""

    def export(self, folder: Path) -> None:
        """Saves what was trained, for use; main process only."""


def train(
    run: Run,
    trainer: Trainer,
    schedule: Schedule,
    *,
    seed: int,
    settings: Mapping[str, Any],
    step_name: str,
    product: str,
) -> None:
    """Runs a trainer from where it stopped to `schedule.steps`; its product is in `<folder>/<product>`, the best of all
    validated ones in `<folder>/best`.

    Args:
        seed: of all that is drawn.
        settings: the entries of the config, with which a run that is resumed has to agree.

    Raises:
        TrainingError: the loss is no longer a finite number; the disk is full; the saved state is damaged or does not
            fit the config. States that were saved before stay as they are.
    """
    since = time.monotonic()
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # the caller's random state stays as it is
        torch.manual_seed(seed + run.accelerator.process_index)
        for step, show in steps_with_progress(run.resume(settings), schedule.steps, step_name, visible=run.is_main):
            numbers = trainer.step(step)
            log, save = step % schedule.log_every == 0, step % schedule.save_every == 0 or step == schedule.steps
            if log or save:
                reported = run.mean(numbers)
                _check_finite(run, step, reported)
            if log:
                show(**reported)
                run.log(step, **reported, steps_per_second=schedule.log_every / (time.monotonic() - since))
                since = time.monotonic()
            if save:
                with full_disk(run.folder, TrainingError):
                    _validate_and_save(run, trainer, schedule.keep, settings, step, product)
                since = time.monotonic()


def _validate_and_save(
    run: Run, trainer: Trainer, keep: int, settings: Mapping[str, Any], step: int, product: str
) -> None:
    loss = 0.0
    if run.is_main:
        numbers = trainer.validate(step)
        loss = next(iter(numbers.values()))
        _check_finite(run, step, numbers)
        run.log(step, **numbers)
        trainer.export(run.folder / product)
        if run.is_best(loss):
            trainer.export(run.folder / "best")
        if run.board is not None:
            run.board.flush()
    run.save(step, loss, keep=keep, settings=settings)


def _check_finite(run: Run, step: int, numbers: Mapping[str, float]) -> None:
    """Refuses to go on once the loss, the first of the numbers, is NaN or infinite."""
    name, loss = next(iter(numbers.items()))
    if not math.isfinite(loss):
        raise TrainingError(
            f"{name} is {loss} at step {step}: the training has diverged. What was saved before is whole, see "
            f"{run.folder}/best; lower `learning_rate` or lengthen `warmup_steps`, and run again from the last state"
        )


def _import_writer() -> type[SummaryWriter] | None:
    """TensorBoard's writer; None, with a warning, where it cannot be imported."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except Exception as error:  # of a broken installation: ImportError, or what protobuf and numpy raise
        logger.warning("TensorBoard cannot be imported, so the numbers are in log.jsonl alone: %s", error)
        return None
    return SummaryWriter


def _differences(state: Path, settings: Mapping[str, Any]) -> str:
    """The entries that differ between the config of a state and the one given, such as "dim is 8 there and 16 now"."""
    try:
        before = json.loads((state / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    now, earlier = _flat(json.loads(json.dumps(dict(settings)))), _flat(before)
    names = [name for name in now.keys() | earlier.keys() if name.rpartition(".")[2] not in _FREE]
    differing = sorted(name for name in names if now.get(name) != earlier.get(name))
    return ", ".join(f"{name} is {earlier.get(name)} there and {now.get(name)} now" for name in differing)


def _flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _first_words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[:2]])


def _name(step: int) -> str:
    return f"step-{step:09d}"
