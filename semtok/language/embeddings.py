"""Embeddings of a text model for speech tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semtok.codebooks.codebooks import Codebooks
    from semtok.tokenizer import Tokenizer


@torch.no_grad()
def extend_embeddings(model: PreTrainedModel, ids: range, codebooks: Codebooks, centroids_of: Tokenizer | None) -> None:
    """Gives a model rows for the ids of a vocabulary, at its input and its output; see `UnitVocabulary.extend`.

    The first ids are those of the codes of `codebooks`, row by row; other tokens of the vocabulary follow.
    """
    # Models often have more rows than their tokenizer has tokens.
    size = max(model.get_input_embeddings().weight.shape[0], ids.stop)
    model.resize_token_embeddings(size, mean_resizing=centroids_of is None)
    if centroids_of is None:
        return
    output = model.get_output_embeddings()
    weights = [model.get_input_embeddings().weight]
    if output is not None and output.weight is not weights[0]:
        weights.append(output.weight)
    for weight in weights:
        old = weight[: ids.start].float()
        new = project_centroids(centroids_of, codebooks, len(ids), weight.shape[1]).to(weight.device)
        weight[ids.start : ids.stop] = (old.mean(dim=0) + new * old.std(dim=0)).to(weight.dtype)


def project_centroids(tokenizer: Tokenizer, codebooks: Codebooks, ids: int, dim: int) -> Tensor:
    """Starting embeddings float32 [ids, dim]: the centroids of all codes, mapped to `dim` dimensions, then noise.

    Each row of codes gets mean 0 and variance 1. The ids beyond the codes (durations, begin and end) get noise.

    A random map keeps distances up to a factor (Johnson-Lindenstrauss); the map is the same in every call.
    """
    generator = torch.Generator().manual_seed(0)
    rows = []
    for layer, sizes in codebooks.items():
        for stage in range(1, len(sizes) + 1):
            points = tokenizer.centroids(layer, stage).cpu().float()
            mapped = points @ torch.randn(points.shape[1], dim, generator=generator)
            rows.append((mapped - mapped.mean(dim=0)) / mapped.std(dim=0).clamp(min=1e-6))
    rows.append(torch.randn(ids - sum(map(len, rows)), dim, generator=generator))
    return torch.cat(rows)
