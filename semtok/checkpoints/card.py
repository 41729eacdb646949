"""The model card of a checkpoint: the `README.md` that the hub shows, and the metadata by which it is found."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtok.checkpoints.config import CheckpointConfig, TokenizerConfig
from semtok.errors import CheckpointError
from semtok.networks.config import VocoderConfig

CARD = "README.md"
_TEMPLATE = Path(__file__).with_name("card_template.md")
GENERATED = "<!-- Written by semtok, which writes it anew with each push; remove this line to keep changes. -->"


@dataclass(frozen=True)
class CardFacts:
    """What a card tells beside the config.

    Args:
        license: identifier as the hub has them, such as "apache-2.0".
        datasets: hub ids of the data it was trained on.
        evaluation: `resynthesis.json` of `semtok evaluate`, for a table of quality.
    """

    license: str | None = None
    datasets: Sequence[str] = ()
    evaluation: str | os.PathLike[str] | None = None


def model_card(config: CheckpointConfig, name: str, facts: CardFacts) -> str:
    """The card of a checkpoint, as Markdown.

    Args:
        config: of the checkpoint, with at least one section.
        name: hub id.
        facts: what the config does not say.

    Raises:
        CheckpointError: `facts.evaluation` cannot be read, or is of another tokenizer.
    """
    from huggingface_hub import ModelCard, ModelCardData

    tokenizer, vocoder = config.tokenizer, config.vocoder
    section = tokenizer or vocoder
    assert section is not None
    frame_rate = section.sample_rate / section.hop_length
    data = ModelCardData(
        license=facts.license,
        library_name="semtok",
        pipeline_tag="audio-to-audio" if vocoder else "feature-extraction",
        tags=["speech", "speech-tokens", "semantic-tokens"] + (["vocoder"] if vocoder else []),
        datasets=list(facts.datasets) or None,
        base_model=tokenizer.encoder if tokenizer and tokenizer.encoder_revision else None,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        generated=GENERATED,
        name=name,
        tokenizer=tokenizer,
        vocoder=vocoder,
        section=section,
        rows=len(section.codebooks.sizes),
        codebooks=_codebooks(section),
        frame_rate=frame_rate,
        bitrate=frame_rate * section.codebooks.bits,
        facts=facts,
        quality=_quality(Path(facts.evaluation), section.fingerprint) if facts.evaluation is not None else None,
    )
    return f"{card.content}\n"


def _codebooks(section: TokenizerConfig | VocoderConfig) -> str:
    codebooks = section.codebooks
    residual = ", in residual stages where there are several" if max(codebooks.stages) > 1 else ""
    return ", ".join(" + ".join(map(str, sizes)) for sizes in codebooks.values()) + residual


def _quality(path: Path, fingerprint: str) -> str:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        found, rows, metrics = report["fingerprint"], report["rows"], report["metrics"]
        table = [
            ["layers", "kbit/s", *(metric["heading"] for metric in metrics.values())],
            ["---", *["---:"] * (1 + len(metrics))],
            *(
                [_layers(row), _bitrate(row), *(_score(row["scores"][name], metrics[name]) for name in metrics)]
                for row in rows
            ),
        ]
        clips = f"Means over {report['clips']} clips, {report['seconds']:.1f} s; first the recordings themselves."
        judges = [f"{role.capitalize()}: {judge}." for role, judge in report["judges"].items()]
    except OSError as error:
        raise CheckpointError(f"cannot read the evaluation {path}: {error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no report of an evaluation ({type(error).__name__}: {error}): "
            "expected resynthesis.json as `semtok evaluate` writes it"
        ) from error
    if found != fingerprint:
        raise CheckpointError(f"{path} is of tokenizer {found}, this checkpoint of {fingerprint}: evaluate it anew")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table) + f"\n\n{' '.join([clips, *judges])}"


def _layers(row: dict[str, Any]) -> str:
    return ", ".join(map(str, row["layers"])) or "original"


def _bitrate(row: dict[str, Any]) -> str:
    return "–" if row["bitrate"] is None else f"{row['bitrate'] / 1000:.2f}"


def _score(value: float | None, metric: dict[str, Any]) -> str:
    return "–" if value is None else f"{value * (100 if metric['unit'] == '%' else 1):.{metric['decimals']}f}"
