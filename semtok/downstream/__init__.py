"""Tasks on discrete tokens: recognition, classes, voices, enhancement, text to speech. Inference alone.

A task is a class in a file of its own, which is imported here and so is listed in `TASKS`.
"""

from semtok.downstream.classifier import UtteranceClassifier
from semtok.downstream.enhancer import SpeechEnhancer
from semtok.downstream.model import TASKS, DownstreamModel
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
