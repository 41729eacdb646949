"""Models of all tasks with random weights."""

from __future__ import annotations

import torch

from semtok import Tokenizer
from semtok.checkpoints.config import config_entries
from semtok.downstream import (
    DownstreamModel,
    SpeakerVerifier,
    SpeechEnhancer,
    SpeechRecognizer,
    TextToSpeech,
    UtteranceClassifier,
)
from semtok.downstream.classifier import ClassifierConfig
from semtok.downstream.config import DownstreamConfig, FrontConfig
from semtok.downstream.conformer import ConformerConfig
from semtok.downstream.enhancer import EnhancerConfig
from semtok.downstream.pooling import ECAPAConfig, PoolingConfig, StatisticsConfig, XVectorConfig
from semtok.downstream.recognizer import LSTMConfig, RecognizerConfig
from semtok.downstream.synthesizer import SynthesizerConfig
from semtok.downstream.text import TextConfig
from semtok.downstream.verifier import VerifierConfig

CONFORMER = ConformerConfig(dim=16, layers=2, heads=2, feedforward=32, kernel=7)
POOLINGS = {
    "statistics": PoolingConfig(statistics=StatisticsConfig()),
    "xvector": PoolingConfig(xvector=XVectorConfig((8, 8, 12), (5, 3, 1), (1, 2, 1), embedding=8)),
    "ecapa": PoolingConfig(ecapa=ECAPAConfig((16, 16, 16, 16, 24), attention=8, squeeze=8, scale=4, embedding=8)),
}
TEXT = TextConfig(characters=" 'ABCDEHLORW")
ATTENTION = {"fusion": "attention", "attention_dim": 6}
HEADS = {
    "lstm": RecognizerConfig(lstm=LSTMConfig(8, 2), text=TEXT),
    "conformer": RecognizerConfig(conformer=CONFORMER, frames_per_step=2, text=TEXT),
    **{name: ClassifierConfig(pooling, labels=("calm", "glad", "sad")) for name, pooling in POOLINGS.items()},
    "verifier": VerifierConfig(POOLINGS["xvector"], threshold=0.2),
    "enhancer": EnhancerConfig(CONFORMER),
    "synthesizer": SynthesizerConfig(CONFORMER, CONFORMER, text=TEXT, speakers=("anna", "bert")),
}
KINDS = {
    **dict.fromkeys(("lstm", "conformer"), SpeechRecognizer),
    **dict.fromkeys(POOLINGS, UtteranceClassifier),
    "verifier": SpeakerVerifier,
    "enhancer": SpeechEnhancer,
    "synthesizer": TextToSpeech,
}


def make_model(name: str, tokenizer: Tokenizer, source: str = "nowhere", **front) -> DownstreamModel:
    """A model of random weights whose batch norms have seen something."""
    kind = KINDS[name]
    config = DownstreamConfig(
        1, kind.task, source, tokenizer.fingerprint, tokenizer.codebooks, 16000, 320,
        FrontConfig(**{"dim": 12, **(front or ATTENTION)}), config_entries(HEADS[name]),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind.build_network(config)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                torch.nn.init.normal_(module.running_mean)
                torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
        for buffer in network.head.buffers():
            if buffer.is_floating_point() and buffer.ndim == 2:
                torch.nn.init.normal_(buffer)
    return kind(config, network, tokenizer=tokenizer)
