"""Embeddings of a text model for speech tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semtok.language.vocabulary import UnitVocabulary
    from semtok.tokenizer import Tokenizer


@torch.no_grad()
def extend_embeddings(model: PreTrainedModel, vocabulary: UnitVocabulary, centroids_of: Tokenizer | None) -> None:
    """Gives a model rows for all ids of a vocabulary, at its input and its output; see `UnitVocabulary.extend`."""
    # Models often have more rows than their tokenizer has tokens.
    size = max(model.get_input_embeddings().weight.shape[0], vocabulary.end_id + 1)
    model.resize_token_embeddings(size, mean_resizing=centroids_of is None)
    if centroids_of is None:
        return
    output = model.get_output_embeddings()
    weights = [model.get_input_embeddings().weight]
    if output is not None and output.weight is not weights[0]:
        weights.append(output.weight)
    for weight in weights:
        old = weight[: vocabulary.first_id].float()
        new = project_centroids(centroids_of, vocabulary, weight.shape[1]).to(weight.device)
        weight[vocabulary.first_id : vocabulary.end_id + 1] = (old.mean(dim=0) + new * old.std(dim=0)).to(weight.dtype)


def project_centroids(tokenizer: Tokenizer, vocabulary: UnitVocabulary, dim: int) -> Tensor:
    """Centroids of all codes mapped to `dim` dimensions, for each row of mean 0 and variance 1; noise for durations,
    begin and end: float32 [ids, dim].

    A random map keeps distances up to a factor (Johnson-Lindenstrauss); it is the same each time.
    """
    generator = torch.Generator().manual_seed(0)
    rows = []
    for layer, sizes in vocabulary.codebooks.items():
        for stage in range(1, len(sizes) + 1):
            points = tokenizer.centroids(layer, stage).cpu().float()
            mapped = points @ torch.randn(points.shape[1], dim, generator=generator)
            rows.append((mapped - mapped.mean(dim=0)) / mapped.std(dim=0).clamp(min=1e-6))
    rows.append(torch.randn(len(vocabulary) - sum(map(len, rows)), dim, generator=generator))
    return torch.cat(rows)
