"""The model card of a downstream model."""

from __future__ import annotations

from semtok.checkpoints.card import GENERATED, CardFacts
from semtok.downstream.config import DownstreamConfig

# Of each task: the pipeline by which the hub finds it, and a call.
_TASKS = {
    "asr": ("automatic-speech-recognition", 'text, = model.transcribe("speech.wav")'),
    "classifier": ("audio-classification", 'answer, = model.classify("speech.wav")  # answer.label, .probabilities'),
    "speaker": ("audio-classification", 'answer, = model.verify("one.wav", "other.wav")  # answer.score, .same'),
    "enhance": ("audio-to-audio", 'waveform = model.enhance("noisy.wav")'),
    "tts": ("text-to-speech", 'waveform = model.speak("Hello world")'),
}


def downstream_card(config: DownstreamConfig, kind: str, name: str, facts: CardFacts) -> str:
    """The card of a model of class `kind`, as Markdown; `name` is its hub id."""
    from huggingface_hub import ModelCardData

    pipeline, call = _TASKS[config.task]
    metadata = ModelCardData(
        license=facts.license,
        library_name="semtok",
        pipeline_tag=pipeline,
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
        f'```python\nfrom semtok.downstream import {kind}\n\nmodel = {kind}.from_pretrained("{name}")\n{call}\n```',
        "\n".join(f"- {title}: {value}" for title, value in details.items() if value),
    ]
    return "\n\n".join(parts) + "\n"
