"""The model card of a checkpoint: the `README.md` that the hub shows, and the metadata by which it is found."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtok.checkpoints.config import CheckpointConfig, TokenizerConfig
from semtok.codebooks.layers import row_slices
from semtok.errors import CheckpointError
from semtok.networks.config import SpeakerConfig, VocoderConfig

CARD = "README.md"
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
    section = config.tokenizer or config.vocoder
    assert section is not None
    parts = [
        f"---\n{_metadata(config, facts)}\n---\n{GENERATED}",
        f"# {name}",
        _summary(config, section),
        f"```python\n{_snippet(config, name)}\n```",
        "\n".join(f"- {title}: {value}" for title, value in _details(config, section, facts).items()),
    ]
    if facts.evaluation is not None:
        parts += ["## Quality", _quality(Path(facts.evaluation), section.fingerprint)]
    return "\n\n".join(parts) + "\n"


def _metadata(config: CheckpointConfig, facts: CardFacts) -> str:
    from huggingface_hub import ModelCardData

    referred = config.tokenizer is not None and config.tokenizer.encoder_revision is not None
    data = ModelCardData(
        license=facts.license,
        library_name="semtok",
        pipeline_tag="audio-to-audio" if config.vocoder else "feature-extraction",
        tags=["speech", "speech-tokens", "semantic-tokens"] + (["vocoder"] if config.vocoder else []),
        datasets=list(facts.datasets) or None,
        base_model=config.tokenizer.encoder if config.tokenizer and referred else None,
    )
    return data.to_yaml(original_order=["license", "library_name", "pipeline_tag", "tags"]).strip()


def _summary(config: CheckpointConfig, section: TokenizerConfig | VocoderConfig) -> str:
    what = {
        (True, True): "A tokenizer of speech and the vocoder that decodes its tokens, from any of the layers",
        (True, False): "A tokenizer of speech",
        (False, True): "A vocoder that decodes discrete tokens to speech, from any of the layers",
    }[config.tokenizer is not None, config.vocoder is not None]
    return f"{what}: {len(section.layers)} layers of a self-supervised encoder, quantized by k-means each."


def _snippet(config: CheckpointConfig, name: str) -> str:
    names = [kind for kind, there in (("Tokenizer", config.tokenizer), ("Vocoder", config.vocoder)) if there]
    lines = [f"from semtok import {', '.join([*names, 'save_audio'] if config.vocoder else names)}", ""]
    if config.tokenizer:
        shape = f"[1, {len(config.tokenizer.codebook_sizes)}, frames]"
        lines += [
            f'tokenizer = Tokenizer.from_pretrained("{name}")',
            f'tokens = tokenizer.encode("speech.wav")  # tokens.codes: {shape}',
        ]
    if config.vocoder:
        lines += [f'vocoder = Vocoder.from_pretrained("{name}")']
        taken = "" if config.tokenizer else "  # tokens of its tokenizer"
        lines += [
            f"waveform = vocoder.decode(tokens){taken}",
            f'save_audio("speech_again.wav", waveform[0], sample_rate={config.vocoder.sample_rate})',
        ]
    return "\n".join(lines)


def _details(
    config: CheckpointConfig, section: TokenizerConfig | VocoderConfig, facts: CardFacts
) -> dict[str, str | float]:
    frame_rate = section.sample_rate / section.hop_length
    bitrate = frame_rate * sum(math.log2(size) for size in section.codebook_sizes)
    encoder = config.tokenizer.encoder if config.tokenizer else None
    if config.tokenizer and config.tokenizer.encoder_revision:
        encoder = f"[{encoder}](https://huggingface.co/{encoder}) at `{config.tokenizer.encoder_revision}`"
    return {
        "Layers": ", ".join(map(str, section.layers)),
        "Codebook sizes": _codebooks(section),
        "Frame rate": f"{frame_rate:g} Hz, of speech at {section.sample_rate} Hz",
        "Bitrate": f"{bitrate / 1000:.2f} kbit/s with all layers, before any entropy coding",
        **({"Speaker": _speaker(config.vocoder.speaker)} if config.vocoder and config.vocoder.speaker else {}),
        **({"Encoder": "in `encoder/`" if encoder == "encoder" else encoder} if encoder else {}),
        **({"Data": ", ".join(facts.datasets)} if facts.datasets else {}),
        **({"Licence": facts.license} if facts.license else {}),
        "Tokenizer fingerprint": f"`{section.fingerprint}`",
    }


def _speaker(speaker: SpeakerConfig) -> str:
    whence = "of `vocoder.speaker(audio)`" if speaker.channels else "made elsewhere"
    return f"`decode(tokens, speaker=)` takes an embedding of {speaker.dim} numbers, {whence}"


def _codebooks(section: TokenizerConfig | VocoderConfig) -> str:
    sizes = [section.codebook_sizes[rows] for rows in row_slices(section.stages)]
    residual = ", in residual stages where there are several" if max(section.stages) > 1 else ""
    return ", ".join(" + ".join(map(str, stages)) for stages in sizes) + residual


def _quality(path: Path, fingerprint: str) -> str:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        found, rows = report["fingerprint"], report["rows"]
        metrics = [metric for metric in rows[0]["scores"] if metric != "delay"]
        table = [
            ["layers", "kbit/s", *(metric.replace("_", " ") for metric in metrics)],
            ["---", *["---:"] * (1 + len(metrics))],
            *([_layers(row), _bitrate(row), *(_score(row["scores"][metric]) for metric in metrics)] for row in rows),
        ]
        clips = f"Means over {report['clips']} clips, {report['seconds']:.1f} s; first the recordings themselves."
    except OSError as error:
        raise CheckpointError(f"cannot read the evaluation {path}: {error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no report of an evaluation ({type(error).__name__}: {error}): "
            "expected resynthesis.json as `semtok evaluate` writes it"
        ) from error
    if found != fingerprint:
        raise CheckpointError(f"{path} is of tokenizer {found}, this checkpoint of {fingerprint}: evaluate it anew")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table) + f"\n\n{clips}"


def _layers(row: dict[str, Any]) -> str:
    return ", ".join(map(str, row["layers"])) or "original"


def _bitrate(row: dict[str, Any]) -> str:
    return "–" if row["bitrate"] is None else f"{row['bitrate'] / 1000:.2f}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
