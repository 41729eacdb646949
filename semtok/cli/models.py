"""`semtok models`: the checkpoints that go by name."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import typer

from semtok.cli.info import describe_encoder, describe_size, read_metadata, state_licence
from semtok.cli.options import AsJson
from semtok.downstream.bundled_models import BUNDLED_BY_NAME, BundledModel
from semtok.downstream.tasks import TASKS

if TYPE_CHECKING:
    from semtok.checkpoints.speechbrain.published import Published

_SEE_PAGE = "see its page"


def models(as_json: AsJson = False) -> None:
    """Checkpoints that go by name: those that come with semtok, models of tasks too, and those known to be published.

    The hub is not asked.
    """
    from semtok.checkpoints.hub import bundled_names
    from semtok.checkpoints.speechbrain.published import CODEBOOKS, PUBLISHED

    named = {name: _bundled(name) for name in bundled_names()}
    named |= {name: _bundled_model(model) for name, model in BUNDLED_BY_NAME.items() if model.is_there}
    named |= {name: _published(published) for name, published in PUBLISHED.items()}
    named[CODEBOOKS] = _codebooks()
    if as_json:
        typer.echo(json.dumps([{"name": name, **facts} for name, facts in named.items()], indent=2))
        return
    for name, facts in named.items():
        typer.secho(name, bold=True)
        for title, value in facts.items():
            typer.echo(f"  {title:<9}{value}")
        typer.echo()


def _bundled(name: str) -> dict[str, str]:
    from semtok.checkpoints.config import ENCODER
    from semtok.checkpoints.hub import resolve
    from semtok.checkpoints.native import read_checkpoint_config

    repository = resolve(name)
    tokenizer = read_checkpoint_config(repository).tokenizer
    assert repository.folder is not None
    assert tokenizer is not None
    card = repository.find("README.md")
    data = read_metadata(card).get("datasets") if card else None
    return {
        "encoder": describe_encoder(tokenizer, dataclasses.replace(repository, subfolder=ENCODER)),
        "layers": ", ".join(map(str, tokenizer.layers)),
        "K": ", ".join(map(str, sorted(set(tokenizer.codebooks.sizes)))),
        "data": ", ".join(data) if isinstance(data, list) else str(data or "-"),
        "licence": state_licence(card),
        "size": f"{describe_size([path for path in repository.folder.rglob('*') if path.is_file()])}, with semtok",
    }


def _bundled_model(model: BundledModel) -> dict[str, str]:
    facts = model.facts()
    return {
        "command": f"semtok {TASKS[model.step].method if model.step in TASKS else 'continue'}",
        "tokens": f"of {facts['tokenizer']}",
        **{title: facts[title] for title in ("reads", "makes") if title in facts},
        "licence": state_licence(model.folder / "README.md"),
        "size": f"{describe_size(list(model.folder.iterdir()))}, with semtok",
    }


def _published(published: Published) -> dict[str, str]:
    layout = published.layout
    holds = "tokenizer and vocoder" if layout.codebooks else f"vocoder alone, of tokens of {layout.origin}"
    return {
        "encoder": " or ".join(layout.encoders) + (", choose by encoder=" if len(layout.encoders) > 1 else ""),
        "layers": ", ".join(map(str, layout.layers)),
        "K": str(layout.codebook_size),
        "data": f"{published.data} (k-means; vocoder)",
        "holds": holds,
        "licence": _SEE_PAGE,
        "size": published.size or "-",
    }


def _codebooks() -> dict[str, str]:
    from semtok.checkpoints.speechbrain.published import ENCODERS

    several = "several, choose one by `semtok import speechbrain`"
    return {
        "encoder": f"{several} --encoder: {', '.join(name for names in ENCODERS.values() for name in names)}",
        "layers": _SEE_PAGE,
        "K": f"{several} --num-clusters",
        "data": f"{several} --dataset, such as LibriSpeech-100-360-500",
        "holds": "tokenizers",
        "licence": _SEE_PAGE,
        "size": "-",
    }
