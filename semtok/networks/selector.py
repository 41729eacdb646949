"""Informed layer selector: codes of several layers -> one vector a frame, by attention over the layers present."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from semtok.codebooks.codebooks import Codebooks


class LayerSelector(nn.Module):
    """An embedding table a layer and an attention over layers (Mousavi et al., 2024, section 2.2).

    e_l = E_l[code_l]; score_l = w . ReLU(W e_l + b), with no bias on w; weights = softmax over the layers present;
    fused = sum_l weight_l e_l. A layer that is absent takes no part in the softmax.

    Args:
        codebooks: of which layers; the embeddings of a layer's stages are summed.
        dim: of the embeddings.
        attention_dim: hidden size of the score.
        absent_embedding: each absent layer does take part, by one learned embedding that stands for any of them
            (SpeechBrain's vocoders).
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

        Centroids of another dimension are mapped by a random orthogonal projection, which keeps their distances as far
        as it can; the table of a layer's first stage is brought to zero mean and unit variance, so that all layers
        start alike in scale, and the stages that follow are scaled with it.
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
        """Fuses the layers given.

        Args:
            codes: int64 [batch, rows, frames], each in 0 ... codebook_size - 1; a row is a layer or one of its stages.
            positions: which of this selector's layers they are, in the order of `codes`; all of them by default.
            present: bool [batch, layers], False for layers that an utterance goes without; at least one True a row.

        Returns:
            The fused vectors [batch, frames, dim] and the weights of the layers [batch, layers, frames], which sum to 1
            over layers (with an embedding for absent layers: to 1 less the weight of those); averaged over frames they
            are the layers' importance.
        """
        embedded = self.embed(codes, positions)
        return self.fuse(embedded, self.scores(codes, embedded, positions), present)

    def embed(self, codes: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        """The embeddings of the layers [batch, layers, frames, dim]; arguments as in `forward`."""
        rows = iter(codes.unbind(1))
        return torch.stack([self._embed(self.embeddings[rows_], rows) for rows_ in self._chosen(positions)], dim=1)

    def scores(self, codes: Tensor, embedded: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        """The score of each layer and frame [batch, layers, frames].

        That of a layer of one stage depends on its code alone: where frames outnumber codes it is computed once a code.
        """
        scores, row = [], 0
        for number, rows in enumerate(self._chosen(positions)):
            table, stages, own = cast(nn.Embedding, self.embeddings[rows.start]), rows.stop - rows.start, codes[:, row]
            once = stages == 1 and own.numel() > table.num_embeddings
            scores.append(self.score(table.weight)[own] if once else self.score(embedded[:, number]))
            row += stages
        return torch.stack(scores, dim=1).squeeze(-1)

    def fuse(self, embedded: Tensor, scores: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The answer of `forward`, from embeddings and scores of the layers."""
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
        """The sum of the embeddings of a layer's stages [batch, frames, dim], of the next rows of codes."""
        embedded: Tensor = sum(table(row) for table, row in zip(tables, rows, strict=False))
        return embedded

    def _with_absent(self, embedded: Tensor, scores: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Adds one embedding [batch, 1, frames, dim] for all absent layers, with the score of as many equal ones."""
        batch, layers, frames = scores.shape
        given = scores.new_full((batch,), layers) if present is None else present.sum(dim=1)
        # n equal scores s weigh as much in the softmax as one of s + log n, and none as one of -inf.
        score = self.score(self.absent) + (len(self.rows) - given).to(scores).log()[:, None]
        assert self.absent is not None
        absent = self.absent.expand(batch, 1, frames, -1)
        return torch.cat([embedded, absent], dim=1), torch.cat([scores, score[:, None].expand(-1, 1, frames)], dim=1)
