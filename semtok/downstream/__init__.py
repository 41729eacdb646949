"""Tasks on discrete tokens: recognition, classes, voices, enhancement, text to speech. Inference alone.

A task is a class in a file of its own, and its line in `tasks.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semtok.downstream.tasks import TASKS

if TYPE_CHECKING:
    from semtok.downstream.classifier import UtteranceClassifier
    from semtok.downstream.enhancer import SpeechEnhancer
    from semtok.downstream.model import DownstreamModel
    from semtok.downstream.recognizer import SpeechRecognizer
    from semtok.downstream.synthesizer import TextToSpeech
    from semtok.downstream.verifier import SpeakerVerifier

__all__ = [
    "TASKS",
    "DownstreamModel",
    "SpeakerVerifier",
    "SpeechEnhancer",
    "SpeechRecognizer",
    "TextToSpeech",
    "UtteranceClassifier",
]


def __getattr__(name: str) -> Any:
    # On first use, so that the command line's help does not wait for torch.
    if name == "DownstreamModel":
        from semtok.downstream.model import DownstreamModel

        return DownstreamModel
    for task in TASKS.values():
        if task.model_name == name:
            return task.model
    raise AttributeError(f"module 'semtok.downstream' has no attribute {name!r}")
