"""Tasks on discrete tokens: recognition, classes, voices, enhancement, text to speech. Inference alone.

A task is a class in a file of its own, and its line in `TASKS`.
"""

from semtok.downstream.classifier import UtteranceClassifier
from semtok.downstream.enhancer import SpeechEnhancer
from semtok.downstream.model import DownstreamModel
from semtok.downstream.recognizer import SpeechRecognizer
from semtok.downstream.synthesizer import TextToSpeech
from semtok.downstream.verifier import SpeakerVerifier

TASKS: dict[str, type[DownstreamModel]] = {
    "asr": SpeechRecognizer,
    "classifier": UtteranceClassifier,
    "speaker": SpeakerVerifier,
    "enhance": SpeechEnhancer,
    "tts": TextToSpeech,
}
"""By the name that `config.json` and `semtok train` have for them."""

__all__ = [
    "TASKS",
    "DownstreamModel",
    "SpeakerVerifier",
    "SpeechEnhancer",
    "SpeechRecognizer",
    "TextToSpeech",
    "UtteranceClassifier",
]
