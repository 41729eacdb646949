"""Tokens that noise leaves as they were: those that a frozen tokenizer gives the clean speech."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from semtok.codebooks.segmentation import penalized_codes, segment_means
from semtok.errors import ConfigError
from semtok.tokenizer import Tokenizer
from semtok.training.encoder.config import Consistency

_TEMPERATURE = 0.1
"""Of squared distances to centroids, in mean squared distances to the nearest one: the second nearest is about a tenth
of that further away."""


class ConsistencyLoss:
    """How far features are from those of a frozen tokenizer, and whether its codebooks tell them apart.

    Labels of a tokenizer that is trained itself would all become one code.

    Raises:
        ConfigError: the tokenizer's encoder has fewer layers than asked for, or other sizes than the student.
    """

    def __init__(self, config: Consistency, dim: int, hop_length: int, device: torch.device) -> None:
        tokenizer = Tokenizer.from_pretrained(config.tokenizer).to(device)
        self._config, self._encoder = config, tokenizer.encoder
        depth, sizes = tokenizer.encoder.num_layers, (tokenizer.encoder.dim, tokenizer.hop_length)
        if max(config.layers) > depth or sizes != (dim, hop_length):
            raise ConfigError(
                f"consistency of layers {config.layers} of an encoder with {dim} dimensions and {hop_length} samples a "
                f"frame needs a tokenizer of that shape; {config.tokenizer} has {depth} layers, {sizes[0]} dimensions "
                f"and {sizes[1]} samples a frame"
            )
        stages = tokenizer.network.centroids()
        if wrong := [layer for layer in config.code_layers if layer not in stages or layer not in config.layers]:
            raise ConfigError(
                f"consistency of codes of layers {config.code_layers} needs codebooks of them, and them among layers "
                f"{config.layers}; {config.tokenizer} has codebooks of {list(stages)}: leave out {wrong}"
            )
        self._centroids = {layer: stages[layer][0].float() for layer in config.code_layers}

    def __call__(self, features: Sequence[Tensor], clean: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and what it is made of.

        Args:
            features: of each layer, [batch, frames, dim], of the noisy crops; with `pairs` of the clean crops, then of
                the same crops disturbed.
            clean: the clean crops [batch, samples], with `pairs` half as many as there are features.

        Returns:
            The weighted sum of `distance`, the mean squared distance in variances of the clean features, and `codes`,
            the cross-entropy of their codes in the first stages by distances to the centroids; both with `changed`, the
            share of frames with another code; all means over the layers. With `pairs` the same between the two halves,
            as `own_distance`, `own_codes` and `own_changed`.
        """
        copies = len(features[0]) // len(clean)
        loss, numbers = self._compare(features, [wanted.repeat(copies, 1, 1) for wanted in self._targets(clean)])
        if self._config.pairs:
            own_clean, disturbed = zip(*(layer.chunk(2) for layer in features), strict=True)
            own_loss, own = self._compare(disturbed, [layer.detach().float() for layer in own_clean])
            loss = loss + self._config.own_weight * own_loss
            numbers |= {f"own_{name}": number for name, number in own.items()}
        return loss, numbers

    @torch.no_grad()
    def _targets(self, clean: Tensor) -> list[Tensor]:
        """Features of the frozen tokenizer [batch, frames, dim], of each layer."""
        lengths = torch.full((len(clean),), clean.shape[1], device=clean.device)
        layers = self._encoder(clean, lengths, self._config.layers)[0].float().unbind(1)
        if not self._config.change_penalty:
            return list(layers)
        return [
            self._steady(features, self._centroids[layer]) if layer in self._centroids else features
            for layer, features in zip(self._config.layers, layers, strict=True)
        ]

    def _steady(self, features: Tensor, centroids: Tensor) -> Tensor:
        distances = torch.cdist(features, centroids).square()
        penalty = self._config.change_penalty * float(distances.min(-1).values.mean())
        return segment_means(features, penalized_codes(distances, penalty))

    def _compare(self, features: Sequence[Tensor], wanted: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        distances, entropies, changed = [], [], []
        for layer, noisy, target in zip(self._config.layers, features, wanted, strict=True):
            spread = target.var((0, 1)).mean().clamp(min=1e-6)
            distances.append((noisy.float() - target).square().mean() / spread)
            if layer in self._centroids:
                entropy, differ = _compare_codes(noisy.float(), target, self._centroids[layer])
                entropies.append(entropy)
                changed.append(differ)
        numbers = {"distance": torch.stack(distances).mean()}
        loss = self._config.weight * numbers["distance"]
        if entropies:
            numbers |= {"codes": torch.stack(entropies).mean(), "changed": torch.stack(changed).mean()}
            loss = loss + self._config.code_weight * numbers["codes"]
        return loss, numbers


def _compare_codes(noisy: Tensor, wanted: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the codes of `wanted` for `noisy`, both [batch, frames, dim], and the share of other codes."""
    norms = centroids.square().sum(1)
    nearest, codes = (norms - 2 * wanted @ centroids.T).min(-1)
    unit = _TEMPERATURE * (nearest + wanted.square().sum(-1)).mean().clamp(min=1e-6)
    logits = (2 * noisy @ centroids.T - norms) / unit
    entropy = F.cross_entropy(logits.flatten(0, 1), codes.flatten())
    return entropy, (logits.argmax(-1) != codes).float().mean()
