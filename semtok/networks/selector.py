"""Informed layer selector: codes of several layers -> one vector a frame, by attention over the layers present."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from semtok.codebooks.codebooks import Codebooks


class LayerSelector(nn.Module):
    """An embedding table for each layer, and attention over layers (Mousavi et al., 2024, section 2.2).

    e_l = E_l[code_l]; score_l = w . ReLU(W e_l + b), with no bias on w; weights = softmax over the layers present;
    fused = sum_l weight_l e_l. Absent layers are left out of the softmax.

    Args:
        codebooks: of the layers. The embeddings of a layer's residual stages are summed.
        dim: of the embeddings.
        attention_dim: hidden size of the score.
        absent_embedding: one learned embedding stands in the softmax for each absent layer, as in SpeechBrain's
            vocoders.
    """

    def __init__(
        self,
        codebooks: Codebooks,
        dim: int,
        attention_dim: int,
        *,
        absent_embedding: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.rows = tuple(codebooks.rows.values())
        self.embeddings = nn.ModuleList(nn.Embedding(size, dim) for size in codebooks.sizes)
        self.score = nn.Sequential(nn.Linear(dim, attention_dim), nn.ReLU(), nn.Linear(attention_dim, 1, bias=False))
        self.absent = nn.Parameter(torch.randn(dim)) if absent_embedding else None

    @torch.no_grad()
    def start_from(self, centroids: Sequence[Tensor]) -> None:
        """Starts each table from its centroids [codebook_size, centroid_dim] instead of at random.

        Centroids of another dimension are mapped by a random orthogonal projection, which distorts distances little.
        The table of a layer's first stage gets zero mean and unit variance, so that all layers start at the same scale.
        The tables of later stages are scaled by the factor of the first.
        """
        for rows in self.rows:
            stages = [points.to(self.embeddings[0].weight) for points in centroids[rows]]  # type: ignore[arg-type]
            if stages[0].shape[1] != self.dim:
                projection = torch.empty(stages[0].shape[1], self.dim, device=stages[0].device)
                nn.init.orthogonal_(projection)
                stages = [points @ projection for points in stages]
            scale = stages[0].std()
            for embedding, points in zip(self.embeddings[rows], stages, strict=True):
                embedding.weight.copy_((points - points.mean()) / scale)  # type: ignore[operator]

    def forward(
        self, codes: Tensor, positions: Sequence[int] | None = None, present: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fuses layers into one vector a frame.

        Args:
            codes: int64 [batch, rows, frames], each in 0 ... codebook_size - 1. A row is a layer, or one of the
                residual stages of a layer.
            positions: of the layers of `codes` among this selector's layers; all layers by default.
            present: bool [batch, layers], False for layers that an utterance lacks; at least one True in each row.

        Returns:
            The fused vectors [batch, frames, dim], and the weights of the layers [batch, layers, frames]. The weights
            of a frame sum to 1; with an embedding for absent layers, to 1 less the weight of the absent layers. The
            mean of a layer's weights over frames is its importance.
        """
        embedded = self.embed(codes, positions)
        return self.fuse(embedded, self.scores(codes, embedded, positions), present)

    def embed(self, codes: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        """The embeddings of layers, [batch, layers, frames, dim]; arguments as in `forward`."""
        rows = iter(codes.unbind(1))
        return torch.stack([self._embed(self.embeddings[rows_], rows) for rows_ in self._chosen(positions)], dim=1)

    def scores(self, codes: Tensor, embedded: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        """The score of each layer and frame, [batch, layers, frames].

        The score of a layer with one stage depends on its code only. If there are more frames than codes, the scores
        are computed once for each code.
        """
        scores, row = [], 0
        for number, rows in enumerate(self._chosen(positions)):
            table, stages, own = cast(nn.Embedding, self.embeddings[rows.start]), rows.stop - rows.start, codes[:, row]
            once = stages == 1 and own.numel() > table.num_embeddings
            scores.append(self.score(table.weight)[own] if once else self.score(embedded[:, number]))
            row += stages
        return torch.stack(scores, dim=1).squeeze(-1)

    def fuse(self, embedded: Tensor, scores: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The fused vectors and the weights that `forward` returns, from embeddings and scores of the layers."""
        layers = scores.shape[1]
        if present is not None:
            scores = scores.masked_fill(~present[:, :, None], -torch.inf)
        if self.absent is not None:
            embedded, scores = self._with_absent(embedded, scores, present)
        weights = scores.softmax(dim=1)
        return (weights[..., None] * embedded).sum(dim=1), weights[:, :layers]

    def _chosen(self, positions: Sequence[int] | None) -> list[slice]:
        """The rows of the layers at these positions."""
        return list(self.rows) if positions is None else [self.rows[position] for position in positions]

    @staticmethod
    def _embed(tables: nn.ModuleList, rows: Iterator[Tensor]) -> Tensor:
        """The sum [batch, frames, dim] of the embeddings of a layer's stages, whose codes are the next rows."""
        embedded: Tensor = sum(table(row) for table, row in zip(tables, rows, strict=False))
        return embedded

    def _with_absent(self, embedded: Tensor, scores: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Appends one layer [batch, 1, frames, dim] that weighs as much as all absent layers together."""
        batch, layers, frames = scores.shape
        given = scores.new_full((batch,), layers) if present is None else present.sum(dim=1)
        # n equal scores s weigh as much in the softmax as one of s + log n, and none as one of -inf.
        score = self.score(self.absent) + (len(self.rows) - given).to(scores).log()[:, None]
        assert self.absent is not None
        absent = self.absent.expand(batch, 1, frames, -1)
        return torch.cat([embedded, absent], dim=1), torch.cat([scores, score[:, None].expand(-1, 1, frames)], dim=1)
