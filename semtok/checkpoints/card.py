"""The model card: the `README.md` that the hub shows, and the metadata by which it is found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtok.checkpoints.config import CheckpointConfig, TokenizerConfig
from semtok.codebooks.layers import describe
from semtok.errors import CheckpointError
from semtok.networks.config import VocoderConfig
from semtok.support.json import read_json

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


@dataclass(frozen=True)
class Card:
    """What a card says of a model, whatever its kind.

    Args:
        pipeline: name under which the hub lists such models.
        summary: what the model is, in a sentence.
        example: Python code that loads and uses it.
        details: sentences by their titles; those that are None or empty are left out.
        fingerprint: of its tokenizer.
        tags: for the hub's search, beside "speech" and "speech-tokens".
        base_model: hub id of what the model builds on.
    """

    pipeline: str
    summary: str
    example: str
    details: Mapping[str, str | None]
    fingerprint: str
    tags: Sequence[str] = ()
    base_model: str | None = None


def write_card(card: Card, name: str, facts: CardFacts) -> str:
    """A card as Markdown; `name` is the model's hub id.

    Raises:
        CheckpointError: `facts.evaluation` cannot be read, or is of another tokenizer.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        license=facts.license,
        library_name="semtok",
        pipeline_tag=card.pipeline,
        tags=["speech", "speech-tokens", *card.tags],
        datasets=list(facts.datasets) or None,
        base_model=card.base_model,
    )
    details = {
        **card.details,
        "Data": ", ".join(facts.datasets),
        "Licence": facts.license,
        "Tokenizer fingerprint": f"`{card.fingerprint}`",
    }
    page = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        generated=GENERATED,
        name=name,
        card=card,
        details={title: text for title, text in details.items() if text},
        quality=_quality(Path(facts.evaluation), card.fingerprint) if facts.evaluation is not None else None,
    )
    return f"{page.content}\n"


def checkpoint_card(config: CheckpointConfig, name: str) -> Card:
    """Of a tokenizer, a vocoder or both; the config has at least one section."""
    tokenizer, vocoder = config.tokenizer, config.vocoder
    section = tokenizer or vocoder
    assert section is not None
    frame_rate = section.sample_rate / section.hop_length
    decoder = "vocoder that decodes {} to speech, from any of the layers"
    what = {
        (True, True): f"A tokenizer of speech and the {decoder.format('its tokens')}",
        (True, False): "A tokenizer of speech",
        (False, True): f"A {decoder.format('discrete tokens')}",
    }[tokenizer is not None, vocoder is not None]
    return Card(
        "audio-to-audio" if vocoder else "feature-extraction",
        f"{what}: {len(section.layers)} layers of a self-supervised encoder, quantized by k-means each.",
        _checkpoint_example(tokenizer, vocoder, name),
        {
            "Layers": ", ".join(map(str, section.layers)),
            "Layer weights": describe(tokenizer.mixtures) if tokenizer else None,
            "Codebook sizes": _codebooks(section),
            "Frame rate": f"{frame_rate:g} Hz, of speech at {section.sample_rate} Hz",
            "Bitrate": f"{frame_rate * section.codebooks.bits / 1000:.2f} kbit/s with all layers, before any entropy "
            "coding",
            "Segments": tokenizer.segmentation.name if tokenizer and tokenizer.segmentation else None,
            "Decoded speech": f"{vocoder.sample_rate} Hz" if vocoder else None,
            "Speaker": _speaker(vocoder),
            "Encoder": _encoder(tokenizer),
        },
        section.fingerprint,
        tags=["semantic-tokens", *(["vocoder"] if vocoder else [])],
        base_model=tokenizer.encoder if tokenizer and tokenizer.encoder_revision else None,
    )


def _checkpoint_example(tokenizer: TokenizerConfig | None, vocoder: VocoderConfig | None, name: str) -> str:
    names = (["Tokenizer"] if tokenizer else []) + (["Vocoder", "save_audio"] if vocoder else [])
    lines = [f"from semtok import {', '.join(names)}", ""]
    if tokenizer:
        rows = len(tokenizer.codebooks.sizes)
        lines += [
            f'tokenizer = Tokenizer.from_pretrained("{name}")',
            f'tokens = tokenizer.encode("speech.wav")  # tokens.codes: [1, {rows}, frames]',
        ]
    if vocoder:
        lines += [
            f'vocoder = Vocoder.from_pretrained("{name}")',
            f"waveform = vocoder.decode(tokens){'' if tokenizer else '  # tokens of its tokenizer'}",
            f'save_audio("speech_again.wav", waveform[0], sample_rate={vocoder.sample_rate})',
        ]
    return "\n".join(lines)


def _speaker(vocoder: VocoderConfig | None) -> str | None:
    if vocoder is None or vocoder.speaker is None:
        return None
    origin = "of `vocoder.speaker(audio)`" if vocoder.speaker.channels else "made elsewhere"
    return f"`decode(tokens, speaker=)` takes an embedding of {vocoder.speaker.dim} numbers, {origin}"


def _encoder(tokenizer: TokenizerConfig | None) -> str | None:
    if tokenizer is None:
        return None
    if tokenizer.encoder_revision is None:
        return f"in `{tokenizer.encoder}/`"
    return f"[{tokenizer.encoder}](https://huggingface.co/{tokenizer.encoder}) at `{tokenizer.encoder_revision}`"


def _codebooks(section: TokenizerConfig | VocoderConfig) -> str:
    codebooks = section.codebooks
    residual = ", in residual stages where there are several" if max(codebooks.stages) > 1 else ""
    return ", ".join(" + ".join(map(str, sizes)) for sizes in codebooks.values()) + residual


def _quality(path: Path, fingerprint: str) -> str:
    try:
        report = read_json(path, CheckpointError)
        evaluated, rows, metrics = report["fingerprint"], report["rows"], report["metrics"]
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
    except CheckpointError:
        raise
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no report of an evaluation ({type(error).__name__}: {error}): "
            "expected resynthesis.json as `semtok evaluate` writes it"
        ) from error
    if evaluated != fingerprint:
        raise CheckpointError(f"{path} is of tokenizer {evaluated}, this checkpoint of {fingerprint}: evaluate it anew")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table) + f"\n\n{' '.join([clips, *judges])}"


def _layers(row: dict[str, Any]) -> str:
    return ", ".join(map(str, row["layers"])) or "original"


def _bitrate(row: dict[str, Any]) -> str:
    return "–" if row["bitrate"] is None else f"{row['bitrate'] / 1000:.2f}"


def _score(value: float | None, metric: dict[str, Any]) -> str:
    return "–" if value is None else f"{value * (100 if metric['unit'] == '%' else 1):.{metric['decimals']}f}"
