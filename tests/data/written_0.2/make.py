"""Writes the files beside it with the semtok that is installed, for `tests/test_written.py`.

    PYTHONPATH=tests python tests/data/written_0.2/make.py      # from the repository's root

Written by ba8525d, a commit before 0.2.0; it is not to be run by a later one. Another version gets a folder of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from checkpoints import draw_tokens, make_tokenizer, make_vocoder
from helpers import CLIPS
from task_models import make_model
from transformers import LlamaConfig, LlamaForCausalLM

from semtok import Tokenizer, Tokens, corpus, load_audio, save_audio
from semtok.analysis import Study
from semtok.language import UnitBPE, UnitVocabulary
from semtok.language.model import LanguageModelConfig, SpeechLanguageModel

HERE = Path(__file__).parent
SAMPLES = (8000, 12000, 10000)
"""Of the three clips of the corpus, from 0.5 s on in each recording."""


def clips(folder: Path) -> Path:
    for path, samples in zip(CLIPS, SAMPLES, strict=True):
        save_audio(folder / f"{path.stem}.wav", load_audio(path)[8000 : 8000 + samples])
    lines = [
        {"path": f"{path.stem}.wav", "speaker": path.stem[:5], "age": 20 + number} for number, path in enumerate(CLIPS)
    ]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_corpus(folder: Path) -> dict[str, object]:
    corpus.encode_corpus(Tokenizer.from_pretrained("tiny"), folder.name, HERE / "corpus", num_shards=2)
    return {
        clip.id: {
            "codes": clip.tokens.codes[0].tolist(),
            "columns": clip.columns,
            "num_samples": clip.num_samples,
            "duration": clip.duration,
        }
        for clip in corpus.read(HERE / "corpus")
    }


def write_language(tokens: Tokens) -> dict[str, object]:
    vocabulary = UnitVocabulary.of(tokens, layers=[4, 1], max_duration=3, template="<u{row}_{code}>")
    vocabulary.save(HERE / "vocabulary.json")
    ids = vocabulary.to_ids(tokens)
    bpe = UnitBPE.train(vocabulary, ids, size=len(vocabulary) + 4)
    bpe.save_pretrained(HERE / "bpe")
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = SpeechLanguageModel(LlamaForCausalLM(config), LanguageModelConfig(1, "tiny", vocabulary))
    model.save_pretrained(HERE / "language")
    return {
        "ids": [row.tolist() for row in ids],
        "names": [vocabulary.names[number] for number in (0, 12, 51, 52, 54, 55, 56)],
        "bpe": [bpe.encode(row).tolist() for row in ids],
        "bits": [row.tolist() for row in model.bits(tokens)],
    }


def write_models(tokenizer: Tokenizer, tokens: Tokens) -> dict[str, object]:
    models = {name: make_model(name, tokenizer) for name in ("lstm", "statistics", "verifier", "synthesizer")}
    for name, model in models.items():
        model.save_pretrained(HERE / "models" / name)
    return {
        "lstm": models["lstm"].transcribe(tokens),
        "statistics": [answer.probabilities for answer in models["statistics"].classify(tokens)],
        "verifier": [answer.score for answer in models["verifier"].verify(tokens[0], tokens[1])],
        "synthesizer": models["synthesizer"].speak_tokens("HELLO WORLD", speaker="bert").codes[0].tolist(),
    }


def write_study(tokenizer: Tokenizer, folder: Path) -> None:
    """Of recordings played backwards: a later version must not take them for the clips of these names."""
    for path in folder.glob("*.wav"):
        save_audio(path, load_audio(path).flip(0))
    study = Study(tokenizer, folder, HERE / "study")
    study.codes()
    study.between()


def main() -> None:
    for name in ("corpus", "bpe", "language", "models", "study"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    tokenizer = make_tokenizer()
    tokens = draw_tokens(make_vocoder(tokenizer, "istft"), [30, 12])
    tokens.save(HERE / "tokens.safetensors")
    expected = {"codes": [utterance.codes[0].tolist() for utterance in tokens], "fingerprint": tokens.fingerprint}
    with tempfile.TemporaryDirectory() as room:
        os.chdir(room)
        folder = Path(room) / "audio"
        folder.mkdir()
        clips(folder)
        expected["corpus"] = write_corpus(folder)
        write_study(tokenizer, folder)
    expected["language"] = write_language(tokens)
    expected["models"] = write_models(tokenizer, tokens)
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
