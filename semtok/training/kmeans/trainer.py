"""A codebook for each chosen layer of a trained encoder: the tokenizer."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from semtok.checkpoints.config import ENCODER
from semtok.checkpoints.encoders import read_encoder
from semtok.checkpoints.hub import resolve
from semtok.encoder.encoder import Encoder
from semtok.errors import ConfigError
from semtok.support.atomic import atomic_write
from semtok.support.progress import steps_with_progress
from semtok.tokenizer import Tokenizer
from semtok.training.data.corpus import Corpus, load_corpus
from semtok.training.kmeans.config import KMeansConfig
from semtok.training.kmeans.features import Piece, collect_features, draw_pieces, share, split_parts
from semtok.training.kmeans.kmeans import KMeans
from semtok.training.run import Run

_SUBTRACTED_AT_A_TIME = 65536


def train_kmeans(config: KMeansConfig) -> None:
    """Fits the codebooks and saves a tokenizer to `<folder>/tokenizer`; resumes where it stopped.

    Raises:
        ConfigError: settings that make no sense, or the folder holds the state of a run with others, or other audio.
        ValueError: there are fewer frames than clusters.
    """
    sizes = stage_sizes(config)
    run = Run(config.folder)
    source = resolve(config.encoder, revision=config.encoder_revision)
    model = read_encoder(source, max(config.layers))
    if config.half_precision and source.folder is not None:
        model = model.half().float()
    encoder = Encoder(model, normalize=config.normalize).to(run.device)
    corpus = load_corpus(
        config.data,
        run.folder.parent / "audio",
        sample_rate=encoder.sample_rate,
        leave_out_splits=config.leave_out_splits,
        processes=run.processes,
    )
    starts = None if config.start_from is None else read_starts(config.start_from, sizes, encoder.dim)
    centroids = Codebooks(config, sizes, run, encoder, corpus, starts).fit()
    if run.is_main:
        tokenizer = Tokenizer.from_centroids(
            model.cpu(),
            centroids,
            normalize=config.normalize,
            encoder=ENCODER if source.folder else config.encoder,
            encoder_revision=None if source.folder else config.encoder_revision,
        )
        if config.segmentation is not None:
            tokenizer = tokenizer.segmented(config.layers[0], config.segmentation)
        tokenizer.save_pretrained(run.folder / "tokenizer")
        (run.folder / "state.pt").unlink(missing_ok=True)
    run.finish()


def stage_sizes(config: KMeansConfig) -> dict[int, list[int]]:
    """Codebook sizes of the stages of each layer; `ConfigError` if the config makes no sense."""
    layers, given = config.layers, config.codebook_sizes
    stages = [sizes if isinstance(sizes, list) else [sizes] for sizes in given]
    if not layers or len(layers) != len(given) or min(min(sizes, default=0) for sizes in stages) < 2:
        raise ConfigError(
            f"layers {layers} need as many codebook_sizes, each 2 at least or a list of such, got {given}"
        )
    if len(set(layers)) < len(layers):
        raise ConfigError(f"layers must differ, got {layers}")
    hours = math.inf if config.hours is None else config.hours
    if min(config.iterations, config.memory_gib, config.batch_seconds, hours) <= 0:
        raise ConfigError("iterations, hours, memory_gib and batch_seconds must be above zero")
    return dict(zip(layers, stages, strict=True))


def read_starts(name: str, sizes: dict[int, list[int]], dim: int) -> dict[int, list[Tensor]]:
    """Centroids [codebook_size, dim] of a tokenizer, for the stages of each layer; `ConfigError` if it has others."""
    stages = Tokenizer.from_pretrained(name).network.centroids()
    for layer, wanted in sizes.items():
        given = [tuple(centroids.shape) for centroids in stages.get(layer, [])]
        if given[: len(wanted)] != [(size, dim) for size in wanted]:
            raise ConfigError(
                f"start_from: {name} has codebooks {given} of layer {layer}, and {wanted} centroids of {dim} "
                "dimensions are asked for: give a tokenizer with these layers and sizes, or leave start_from out"
            )
    return {layer: list(stages[layer][: len(wanted)]) for layer, wanted in sizes.items()}


class Codebooks:
    """The k-means of all layers and stages: those that are done, and those that the current pass over the audio fits.

    `<folder>/state.pt` is written aside after each part of a pass; where one part is all, after each codebook.
    """

    def __init__(
        self,
        config: KMeansConfig,
        sizes: dict[int, list[int]],
        run: Run,
        encoder: Encoder,
        corpus: Corpus,
        starts: dict[int, list[Tensor]] | None = None,
    ) -> None:
        self.config, self.sizes, self.run, self.encoder, self.corpus = config, sizes, run, encoder, corpus
        self.starts = starts
        frame_bytes = 2 * encoder.dim * len(config.layers)
        pieces = draw_pieces(corpus.lengths, encoder.sample_rate, config.hours, config.seed)
        part_frames = max(1, int(config.memory_gib * 2**30 / frame_bytes))
        self.parts = split_parts(pieces, encoder, part_frames, config.batch_seconds)
        self.done: dict[int, list[KMeans]] = {layer: [] for layer in config.layers}
        self.current: dict[int, KMeans] = {}
        self.parts_done = 0
        # Two runs are one if they agree in these.
        settings = {name: value for name, value in dataclasses.asdict(config).items() if name != "folder"}
        self.identity = {"settings": settings, "samples": sum(piece.samples for piece in pieces)}

    def fit(self) -> dict[int, list[Tensor]]:
        """Centroids [codebook_size, dim] of the stages of each layer, on the CPU."""
        self._load()
        if len(self.parts) == 1:
            self._fit_in_memory()
        else:
            while layers := self._unfinished():
                self._fit_a_stage(layers)
        return {layer: [kmeans.centroids_.cpu() for kmeans in stages] for layer, stages in self.done.items()}

    def _fit_in_memory(self) -> None:
        """One run of the encoder, whose features all stages of all layers are fitted to."""
        if not (layers := self._unfinished()):
            return
        features = self._features(self.parts[0], layers, visible=self.run.is_main)
        for layer in layers:
            points = self._left_over(features.pop(0).to(self.run.device), self.done[layer])
            while len(self.done[layer]) < len(self.sizes[layer]):
                kmeans = self._new(layer).fit(points)
                self._finish(layer, kmeans)
                self._save()
                points = self._left_over(points, [kmeans])

    def _fit_a_stage(self, layers: list[int]) -> None:
        """The next stage of all layers that have one, in one pass over the audio."""
        stage = min(len(self.done[layer]) for layer in layers)
        layers = [layer for layer in layers if len(self.done[layer]) == stage]
        if not self.current:
            self.current = {layer: self._new(layer) for layer in layers}
        passes = steps_with_progress(self.parts_done, len(self.parts), f"stage {stage + 1}", visible=self.run.is_main)
        for part, show in passes:
            features = self._features(self.parts[part - 1], layers)
            for layer in layers:
                points = self._left_over(features.pop(0).to(self.run.device), self.done[layer])
                self.current[layer].partial_fit(points)
            self.parts_done = part
            show(**{f"layer_{layer}": kmeans.inertia_ for layer, kmeans in self.current.items()})
            self._save()
        for layer, kmeans in self.current.items():
            self._finish(layer, kmeans)
        self.current, self.parts_done = {}, 0
        self._save()

    def _unfinished(self) -> list[int]:
        return [layer for layer in self.config.layers if len(self.done[layer]) < len(self.sizes[layer])]

    def _features(self, part: list[list[Piece]], layers: list[int], *, visible: bool = False) -> list[Tensor]:
        """Those of this process's share of a part, with a progress bar if that is all."""
        own = share(part, self.run.accelerator.process_index, self.run.accelerator.num_processes)
        return collect_features(self.encoder, self.corpus, own, layers, self.config.segmentation, visible=visible)

    def _left_over(self, points: Tensor, stages: list[KMeans]) -> Tensor:
        """What the stages leave over of the points, in their place."""
        for rows in points.split(_SUBTRACTED_AT_A_TIME):
            for kmeans in stages:
                rows -= kmeans.centroids_[kmeans.predict(rows)]
        return points

    def _new(self, layer: int) -> KMeans:
        stage = len(self.done[layer])
        return KMeans(
            self.sizes[layer][stage],
            iterations=self.config.iterations,
            seed=self.config.seed,
            accelerator=self.run.accelerator,
            start=None if self.starts is None else self.starts[layer][stage],
            spherical=self.config.segmentation is not None and self.config.segmentation.spherical,
        )

    def _finish(self, layer: int, kmeans: KMeans) -> None:
        stages = self.done[layer]
        if self.config.half_precision:
            kmeans.centroids_ = kmeans.centroids_.half().float()
        stages.append(kmeans)
        shares = kmeans.counts_.double() / kmeans.counts_.double().sum()
        self.run.log(
            layer,
            stage=len(stages),
            inertia=kmeans.inertia_,
            explained_variance=1 - kmeans.inertia_ / stages[0].variance_,
            entropy_bits=float(torch.special.entr(shares).sum()) / math.log(2),
            dead_clusters=int((kmeans.counts_ == 0).sum()),
        )

    def _save(self) -> None:
        if self.run.is_main:
            state = {
                "identity": self.identity,
                "parts_done": self.parts_done,
                "current": {layer: kmeans.state_dict() for layer, kmeans in self.current.items()},
                "done": {layer: [kmeans.state_dict() for kmeans in stages] for layer, stages in self.done.items()},
            }
            with atomic_write(self.run.folder / "state.pt") as aside:
                torch.save(state, aside)

    def _load(self) -> None:
        path = self.run.folder / "state.pt"
        if self.run.is_main:
            for leftover in self.run.folder.glob(".state.pt.*.tmp"):
                leftover.unlink()
        self.run.accelerator.wait_for_everyone()
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.run.device, weights_only=True)
        if state["identity"] != self.identity:
            raise ConfigError(
                f"{path} is the state of a run with other settings or other audio: give the run another folder, or "
                "delete that file to start over"
            )
        for layer, stages in state["done"].items():
            for saved in stages:
                kmeans = self._new(layer)
                kmeans.load_state_dict(saved)
                self.done[layer].append(kmeans)
        self.current = {layer: self._new(layer) for layer in state["current"]}
        for layer, saved in state["current"].items():
            self.current[layer].load_state_dict(saved)
        self.parts_done = state["parts_done"]
