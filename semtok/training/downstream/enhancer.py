"""Training of an enhancer: noisy speech -> the tokens of the same speech without noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from semtok.audio.lengths import frame_mask
from semtok.checkpoints.config import config_entries
from semtok.downstream.enhancer import CodePredictor, EnhancerConfig, EnhancerHead, SpeechEnhancer
from semtok.errors import ConfigError
from semtok.training.downstream.config import TaskConfig, TaskData
from semtok.training.downstream.objective import Batch, ClipErrors, Crop, Objective

# Of a step. Scores of every code cost more than the network does, and neighbouring frames say nearly the same.
_LOSS_FRAMES = 1500


@dataclass(frozen=True, kw_only=True)
class EnhancerTrainingConfig(TaskConfig):
    """Learns from the noisy copies of clips, so `augmentation` has to make some, of validation clips as well.

    With `features` the input are features of the noisy copies: what quantization loses of noisy speech is then still
    there (wave to token). The clean tokens of all layers and stages are learnt in any case.
    """

    enhancer: EnhancerConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data.augmentation.noisy_copies or self.data.augmentation.speeds:
            raise ConfigError("an enhancer needs augmentation with disturbances and noisy_copies, and without speeds")
        if self.data.stages is not None:
            raise ConfigError("an enhancer writes the tokens of all stages: leave out stages")


class EnhancerObjective(Objective[EnhancerTrainingConfig]):
    model = SpeechEnhancer
    Config = EnhancerTrainingConfig
    learns_codes = True

    @classmethod
    def augments(cls, data: TaskData) -> Callable[[str | None], bool]:
        return lambda split: True

    def usable(self, clips: Sequence[int]) -> list[int]:
        return list(clips)

    def prepare(self) -> dict[str, Any]:
        return config_entries(self.config.enhancer)

    def draw(self, clip: int, generator: np.random.Generator) -> Crop:
        crop = super().draw(clip, generator)
        return dataclasses.replace(crop, copy=int(generator.integers(1, self.clips.copies(clip))))

    def whole(self, clip: int) -> Crop:
        return dataclasses.replace(super().whole(clip), copy=1)

    def targets(self, crops: Sequence[Crop]) -> Batch:
        clean = [self.clips.inputs(crop.clip, 0, crop.start, crop.frames).T for crop in crops]
        return {"clean": pad_sequence(clean, batch_first=True, padding_value=-1)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        head = self.network.head
        assert isinstance(head, EnhancerHead)
        fused, _ = self.network.front(batch["inputs"], batch["lengths"], batch["present"], batch["hidden"])
        return {"loss": code_loss(head.predict, head.vectors(fused, batch["lengths"]), batch["clean"])}

    def measure(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Wrong codes of each clip and row, [clips, rows], and the frames of each clip."""
        clean = batch["clean"]
        valid = frame_mask(batch["lengths"], clean.shape[1])
        wrong = (self.run(batch) != clean) & valid[:, :, None]
        return wrong.sum(dim=1).cpu(), batch["lengths"].cpu()

    def summarize(self, measured: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Share of wrong codes over all rows, and of each row."""
        wrong, frames = (torch.cat(parts).sum(dim=0) for parts in zip(*measured, strict=True))
        shares = wrong / frames
        names = self.description.codebooks.names
        return {"error": float(shares.mean())} | {
            f"error_{name}": float(share) for name, share in zip(names, shares, strict=True)
        }

    def clip_errors(self, measured: Sequence[tuple[Tensor, Tensor]]) -> ClipErrors:
        wrong, frames = (torch.cat(parts).double() for parts in zip(*measured, strict=True))
        return {"error": (wrong.mean(dim=1).numpy(), frames.numpy())}


def code_loss(predict: CodePredictor, vectors: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy, the mean over rows and over frames that are drawn at random.

    Args:
        vectors: [batch, frames, dim], from which `predict` predicts the codes.
        codes: int64 [batch, frames, rows], -1 past an utterance's length.
    """
    valid = codes[..., 0] >= 0
    drawn = torch.randperm(int(valid.sum()))[:_LOSS_FRAMES].to(codes.device)
    wanted = codes[valid][drawn]
    scores, _ = predict(vectors[valid][drawn], wanted)
    losses = [F.cross_entropy(row.float(), code) for row, code in zip(scores, wanted.unbind(-1), strict=True)]
    return torch.stack(losses).mean()
