"""The config of k-means."""

from __future__ import annotations

from dataclasses import dataclass

from semtok.codebooks.segmentation import Segmentation
from semtok.errors import ConfigError
from semtok.training.config import StepConfig


@dataclass(frozen=True, kw_only=True)
class KMeansConfig(StepConfig):
    """One codebook for each of `layers`, or, where `codebook_sizes` has a list for it, one for each residual stage.

    `encoder` is a folder, saved with the tokenizer, or a hub id at the commit `encoder_revision`, saved by reference.
    With `half_precision` centroids, and an encoder of a folder, are rounded to float16 first, which halves their files.
    They are fitted to `hours` of the data (all by default). Features that fit in `memory_gib`, over all processes, get
    `iterations` passes at most; more are fitted in such parts, one pass over the audio for each stage. Each process
    encodes `batch_seconds` at a time, padding included.

    `start_from` is a tokenizer, a folder, hub id or bundled name, whose centroids the fit starts from, rather than from
    k-means++: where the encoder is much like its encoder, codes keep their meaning, and what was trained on them can be
    trained on. Its layers and sizes are those asked for, or more.

    With a `segmentation` that has a `boundary_layer`, the codebook of the one layer is fitted to the means of segments
    rather than to frames, and the tokenizer is one of segments.
    """

    encoder: str
    layers: list[int]
    codebook_sizes: list[int | list[int]]
    normalize: bool
    hours: float | None = None
    encoder_revision: str | None = None
    start_from: str | None = None
    half_precision: bool = False
    iterations: int = 30
    memory_gib: float = 4.0
    batch_seconds: float = 60.0
    segmentation: Segmentation | None = None

    def __post_init__(self) -> None:
        if self.segmentation is None:
            return
        boundary = self.segmentation.boundary_layer
        residual = any(isinstance(sizes, list) for sizes in self.codebook_sizes)
        if boundary is None or len(self.layers) != 1 or residual or boundary > self.layers[0]:
            raise ConfigError(
                "a codebook for segments needs one layer of one stage, and a segmentation whose boundary_layer is that "
                f"layer or one before; got layers {self.layers}, codebook_sizes {self.codebook_sizes} and "
                f"{self.segmentation.name}. For a penalty, fit a codebook of frames and use `semtok segment --penalty`"
            )
