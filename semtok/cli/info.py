"""`semtok info`: what a checkpoint or a file of tokens holds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtok.cli.options import AsJson, LocalFilesOnly, Revision
from semtok.errors import CheckpointError
from semtok.support.json import read_json

if TYPE_CHECKING:
    from semtok.checkpoints.config import TokenizerConfig
    from semtok.checkpoints.hub import Repository
    from semtok.codebooks.codebooks import Codebooks
    from semtok.networks.config import VocoderConfig


def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A bundled name, folder or hub id; or a file of tokens.")],
    revision: Revision = None,
    local_files_only: LocalFilesOnly = False,
    as_json: AsJson = False,
) -> None:
    """What a checkpoint or a file of tokens holds.

    Of a checkpoint on the hub only config.json and README.md are downloaded.
    """
    if Path(name).is_file() or name.endswith(".safetensors"):
        holding = _of_tokens(Path(name))
    else:
        holding = _of_checkpoint(name, revision, local_files_only)
    (_print_json if as_json else _print)(holding)


@dataclass(frozen=True)
class Holding:
    """What something holds.

    Args:
        facts: by title, as text.
        numbers: those of the facts that are numbers, by their name in JSON.
        codebooks, frame_rate: of the codes.
    """

    facts: Mapping[str, str]
    numbers: Mapping[str, Any]
    codebooks: Codebooks
    frame_rate: float


def _of_tokens(path: Path) -> Holding:
    from semtok.tokens import Tokens

    tokens = Tokens.load(path)
    durations = tokens.durations
    each = f" ({float(durations.min()):.2f} to {float(durations.max()):.2f} s each)" if len(tokens) > 1 else ""
    facts = {
        "tokens": str(path.resolve()),
        "codes": f"{list(tokens.codes.shape)} = [batch, rows, frames]",
        "duration": f"{float(durations.sum()):.2f} s{each}",
        "frame rate": f"{tokens.frame_rate:g} Hz",
        "bitrate": f"{tokens.bitrate:.0f} bit/s",
        "fingerprint": f"{tokens.fingerprint} (of the tokenizer)",
        "size on disk": describe_size([path]),
    }
    numbers = {
        "shape": list(tokens.codes.shape),
        "seconds": durations.tolist(),
        "bitrate": tokens.bitrate,
        "fingerprint": tokens.fingerprint,
        "bytes": path.stat().st_size,
    }
    return Holding(facts, numbers, tokens.codebooks, tokens.frame_rate)


def _of_checkpoint(name: str, revision: str | None, local_files_only: bool) -> Holding:
    from semtok.checkpoints.config import CONFIG, ENCODER
    from semtok.checkpoints.hub import resolve
    from semtok.checkpoints.native import CENTROIDS, VOCODER, read_checkpoint_config
    from semtok.codebooks.layers import describe

    repository = resolve(name, revision=revision, local_files_only=local_files_only)
    config = read_checkpoint_config(repository)
    tokenizer = config.tokenizer
    section = tokenizer or config.vocoder
    if section is None:
        raise CheckpointError(f"{name} holds neither a tokenizer nor a vocoder")
    card = repository.find("README.md")
    # what follows is large: looked at where it is on disk, never fetched
    on_disk = dataclasses.replace(repository, local_files_only=True)
    encoder = dataclasses.replace(on_disk, subfolder=ENCODER)
    if tokenizer and tokenizer.encoder != ENCODER:
        encoder = resolve(tokenizer.encoder, revision=tokenizer.encoder_revision, local_files_only=True)
    files = [card, *(_find(on_disk, file) for file in (CONFIG, CENTROIDS, VOCODER))]
    files += [_find(encoder, file) for file in (CONFIG, "model.safetensors", "pytorch_model.bin")] if tokenizer else []

    frame_rate = section.sample_rate / section.hop_length
    facts = {
        "checkpoint": name,
        "path": str(repository.file(CONFIG).parent.resolve()),
        "licence": state_licence(card),
        "encoder": describe_encoder(tokenizer, encoder) if tokenizer else "none",
        "vocoder": _describe_vocoder(config.vocoder, _find(on_disk, VOCODER)) if config.vocoder else "none",
        "sample rate": f"{section.sample_rate} Hz",
        "frame rate": f"{frame_rate:g} Hz (hop length {section.hop_length})",
        "bitrate": f"{frame_rate * section.codebooks.bits:.0f} bit/s with all layers",
        **({"layer weights": describe(tokenizer.mixtures)} if tokenizer and tokenizer.mixtures else {}),
        **({"segments": tokenizer.segmentation.name} if tokenizer and tokenizer.segmentation else {}),
        "dim": f"{tokenizer.dim} (of features and centroids)" if tokenizer else "unknown",
        "fingerprint": section.fingerprint,
        "size on disk": describe_size([file for file in files if file]),
    }
    numbers = {
        "sample_rate": section.sample_rate,
        "hop_length": section.hop_length,
        "output_sample_rate": config.vocoder.sample_rate if config.vocoder else None,
        "bitrate": frame_rate * section.codebooks.bits,
        "dim": tokenizer.dim if tokenizer else None,
        "bytes": sum(file.stat().st_size for file in files if file),
    }
    return Holding(facts, numbers, section.codebooks, frame_rate)


def describe_encoder(tokenizer: TokenizerConfig, encoder: Repository) -> str:
    """Family, layers and width, as far as they are on disk."""
    from semtok.checkpoints.config import CONFIG, ENCODER

    where = "" if tokenizer.encoder == ENCODER else f"{tokenizer.encoder} at {tokenizer.encoder_revision}: "
    path = _find(encoder, CONFIG)
    if path is None:
        return f"{where}not downloaded yet"
    try:
        model = read_json(path, CheckpointError)
        shape = f"{model['model_type']}, {model['num_hidden_layers']} layers of {model['hidden_size']}"
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} describes no encoder: {error!r}") from error
    return f"{where}{shape}{_parameters(_find(encoder, 'model.safetensors'))}"


def _describe_vocoder(vocoder: VocoderConfig, weights: Path | None) -> str:
    speaker = ", takes a speaker" if vocoder.speaker else ""
    layers = ", ".join(map(str, vocoder.layers))
    rate = f", speech at {vocoder.sample_rate} Hz"
    return f"{vocoder.generator.title} generator, layers {layers}{rate}{speaker}{_parameters(weights)}"


def _find(repository: Repository, name: str) -> Path | None:
    """A file if it is on disk."""
    try:
        return repository.find(name)
    except CheckpointError:
        return None


def state_licence(card: Path | None) -> str:
    """`license` of the front matter of a model card."""
    if card is None:
        return "not stated: no README.md"
    metadata = read_metadata(card)
    return str(metadata.get("license_name") or metadata.get("license") or "not stated in README.md")


def read_metadata(card: Path) -> dict[str, Any]:
    """The front matter of a model card."""
    import yaml
    from huggingface_hub.repocard import metadata_load

    try:
        return metadata_load(card) or {}
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"{card} has no readable front matter: {error}") from error


def _parameters(weights: Path | None) -> str:
    """How many there are, as the header of a safetensors file says; nothing if it is not there."""
    if weights is None:
        return ""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as file:
            names = list(file.keys())
            count = sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except SafetensorError as error:
        raise CheckpointError(f"{weights} is truncated or no safetensors file: {error}") from error
    return f", {count / 1e6:.1f} M parameters"


def describe_size(files: Sequence[Path]) -> str:
    """Of all files together."""
    size = sum(file.stat().st_size for file in files)
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.2f} kB"


def _print(holding: Holding) -> None:
    for name, value in holding.facts.items():
        typer.echo(typer.style(f"{name:<14}", bold=True) + value)
    typer.secho("\nlayer   codebook size   bit/s", bold=True)
    for name, size in zip(holding.codebooks.names, holding.codebooks.sizes, strict=True):
        typer.echo(f"{name:>5}   {size:>13}   {holding.frame_rate * math.log2(size):>5.0f}")


def _print_json(holding: Holding) -> None:
    """Facts under their titles with underscores; numbers as numbers instead."""
    codebooks = holding.codebooks
    rows = [{"row": name, "codebook_size": size} for name, size in zip(codebooks.names, codebooks.sizes, strict=True)]
    facts = {name.replace(" ", "_"): value for name, value in holding.facts.items()}
    numbers = {"frame_rate": holding.frame_rate, **holding.numbers}
    typer.echo(json.dumps(facts | numbers | {"layers": list(codebooks), "rows": rows}, indent=2))
