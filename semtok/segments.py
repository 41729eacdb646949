"""The vocoder of segments, units of variable length, made of one of frames."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn.functional import normalize

from semtok.checkpoints.parts import VocoderParts
from semtok.codebooks.layers import check_layers
from semtok.errors import CheckpointError
from semtok.tokenizer import Tokenizer
from semtok.vocoder import Vocoder


def vocoder_of_segments(vocoder: Vocoder, tokenizer: Tokenizer, segments: Tokenizer) -> Vocoder:
    """A vocoder for the tokens of a tokenizer of segments, made of one for frames; nothing is trained.

    A code of `segments` sounds like the code of `tokenizer` that is nearest to its centroid, for as many frames as it
    lasts.

    Args:
        vocoder: of `tokenizer`.
        tokenizer: of frames.
        segments: by `Tokenizer.segmented`, or with a codebook of its own for the same encoder and layer.

    Raises:
        CheckpointError: a vocoder of another tokenizer, or one in which absent layers have weight; features of another
            size.
        LayerError: a layer that the vocoder lacks.
    """
    if vocoder.fingerprint != tokenizer.fingerprint:
        raise CheckpointError(f"the vocoder is of tokenizer {vocoder.fingerprint}, not of {tokenizer.fingerprint}")
    if vocoder.config.absent_embedding:
        raise CheckpointError("in this vocoder absent layers have weight: it cannot be made one of a single layer")
    if segments.encoder.dim != tokenizer.encoder.dim:
        raise CheckpointError(
            f"the segments are of features of {segments.encoder.dim}, the vocoder's tokenizer of features of "
            f"{tokenizer.encoder.dim}: both need the same encoder"
        )
    (layer,) = check_layers(segments.layers, vocoder.layers, owner="the vocoder")
    points = segments.centroids(layer).to(tokenizer.device)
    if segments.config.segmentation is not None and segments.config.segmentation.spherical:
        # Only their direction means something.
        points = normalize(points) * tokenizer.centroids(layer).norm(dim=1).mean()
    codes = tokenizer.network.quantizer(layer)(points)
    state, tables = vocoder.network.state_dict(), "selector.embeddings."
    weights = {name: tensor for name, tensor in state.items() if not name.startswith(tables)}
    first = vocoder.codebooks.rows[layer].start
    stages = [state[f"{tables}{first + stage}.weight"][row.to(vocoder.device)] for stage, row in enumerate(codes.T)]
    weights[f"{tables}0.weight"] = torch.stack(stages).sum(0)
    config = dataclasses.replace(vocoder.config, codebooks=segments.codebooks, fingerprint=segments.fingerprint)
    weights = {name: tensor.cpu() for name, tensor in weights.items()}
    return Vocoder(config, VocoderParts(config, weights).network("a vocoder of segments").to(vocoder.device))
