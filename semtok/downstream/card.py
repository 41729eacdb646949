"""The model card of a downstream model."""

from __future__ import annotations

from typing import Any

from semtok.checkpoints.card import GENERATED, CardFacts
from semtok.downstream.config import DownstreamConfig


def downstream_card(config: DownstreamConfig, kind: type[Any], name: str, facts: CardFacts) -> str:
    """The card of a model of class `kind`, a `DownstreamModel`, as Markdown; `name` is its hub id."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        license=facts.license,
        library_name="semtok",
        pipeline_tag=kind.pipeline,
        tags=["speech", "speech-tokens"],
        datasets=list(facts.datasets) or None,
        base_model=config.tokenizer if "/" in config.tokenizer else None,
    )
    importance = ", ".join(
        f"{layer}: {share:.2f}" for layer, share in zip(config.codebooks, config.layer_importance, strict=False)
    )
    details = {
        "Tokenizer": f"`{config.tokenizer}`, fingerprint `{config.fingerprint}`",
        "Layers": ", ".join(map(str, config.codebooks)),
        "Mean weight of each layer": importance,
        "Data": ", ".join(facts.datasets),
        "Licence": facts.license,
    }
    parts = [
        f"---\n{metadata.to_yaml(original_order=['license', 'library_name', 'pipeline_tag', 'tags']).strip()}\n---",
        GENERATED,
        f"# {name}",
        "A model on discrete speech tokens of several layers of a self-supervised encoder.",
        f"```python\nfrom semtok.downstream import {kind.__name__}\n\n"
        f'model = {kind.__name__}.from_pretrained("{name}")\n{kind.example}\n```',
        "\n".join(f"- {title}: {value}" for title, value in details.items() if value),
    ]
    return "\n\n".join(parts) + "\n"
