"""Training of the models of `semtok.downstream`: an objective a task, on tokens made once."""

from __future__ import annotations

from typing import Any

from semtok.training.downstream.classifier import ClassifierObjective, ClassifierTrainingConfig
from semtok.training.downstream.config import TaskConfig
from semtok.training.downstream.enhancer import EnhancerObjective, EnhancerTrainingConfig
from semtok.training.downstream.objective import Objective
from semtok.training.downstream.recognizer import RecognizerObjective, RecognizerTrainingConfig
from semtok.training.downstream.synthesizer import SynthesizerObjective, SynthesizerTrainingConfig
from semtok.training.downstream.verifier import VerifierObjective, VerifierTrainingConfig

OBJECTIVES: dict[str, tuple[type[Objective[Any]], type[TaskConfig]]] = {
    "asr": (RecognizerObjective, RecognizerTrainingConfig),
    "classifier": (ClassifierObjective, ClassifierTrainingConfig),
    "speaker": (VerifierObjective, VerifierTrainingConfig),
    "enhance": (EnhancerObjective, EnhancerTrainingConfig),
    "tts": (SynthesizerObjective, SynthesizerTrainingConfig),
}
"""By task: what it is trained by, and the dataclass of its config."""
