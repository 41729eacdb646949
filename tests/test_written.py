"""Files that an earlier version wrote: this one reads the same values, or refuses them by name.

`tests/data/written_0.2/make.py` wrote the files, and in `expected.json` what they hold.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from checkpoints import make_tokenizer
from helpers import CLIPS, DATA

from semtok import Tokens, corpus, load_audio, save_audio
from semtok.analysis import Study
from semtok.downstream import DownstreamModel
from semtok.language import UnitBPE, UnitVocabulary
from semtok.language.model import SpeechLanguageModel

WRITTEN = DATA / "written_0.2"
EXPECTED = json.loads((WRITTEN / "expected.json").read_text())


@pytest.fixture(scope="module")
def tokens():
    return Tokens.load(WRITTEN / "tokens.safetensors")


def test_tokens(tokens):
    assert [utterance.codes[0].tolist() for utterance in tokens] == EXPECTED["codes"]
    assert (tokens.layers, tokens.codebook_sizes, tokens.stages) == ((1, 3, 4), (40, 30, 12), (1, 1, 1))
    assert (tokens.frame_rate, tokens.fingerprint) == (50.0, EXPECTED["fingerprint"])
    assert tokens.codes[1, :, 12:].eq(-1).all()


def test_a_corpus():
    clips = list(corpus.read(WRITTEN / "corpus"))
    assert {clip.id for clip in clips} == set(EXPECTED["corpus"])
    for clip in clips:
        expected = EXPECTED["corpus"][clip.id]
        assert clip.tokens.codes[0].tolist() == expected["codes"]
        assert (clip.columns, clip.num_samples) == (expected["columns"], expected["num_samples"])
        assert (clip.start, clip.duration) == (0, pytest.approx(expected["duration"]))
        assert clip.tokens.names == ("1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "3.1", "3.2", "5", "7")
        assert clip.tokens.fingerprint == "8cf35db58c8a5871"
    assert not corpus.status(WRITTEN / "corpus").missing


def test_a_vocabulary_and_its_byte_pair_encoding(tokens):
    vocabulary = UnitVocabulary.load(WRITTEN / "vocabulary.json")
    expected = EXPECTED["language"]
    assert [ids.tolist() for ids in vocabulary.to_ids(tokens)] == expected["ids"]
    assert vocabulary.from_ids(expected["ids"]).codes.equal(tokens.select([4, 1]).codes)
    assert [vocabulary.names[number] for number in (0, 12, 51, 52, 54, 55, 56)] == expected["names"]
    bpe = UnitBPE.from_pretrained(WRITTEN / "bpe")
    assert [bpe.encode(ids).tolist() for ids in vocabulary.to_ids(tokens)] == expected["bpe"]
    assert [bpe.decode(torch.tensor(ids)).tolist() for ids in expected["bpe"]] == expected["ids"]


def test_a_language_model(tokens):
    model = SpeechLanguageModel.from_pretrained(WRITTEN / "language")
    for bits, expected in zip(model.bits(tokens), EXPECTED["language"]["bits"], strict=True):
        torch.testing.assert_close(bits, torch.tensor(expected), atol=1e-4, rtol=0)


def test_models_of_tasks(tokens):
    expected = EXPECTED["models"]
    recognizer, classifier, verifier, synthesizer = (
        DownstreamModel.from_pretrained(WRITTEN / "models" / name)
        for name in ("lstm", "statistics", "verifier", "synthesizer")
    )
    assert recognizer.transcribe(tokens) == expected["lstm"]
    for answer, probabilities in zip(classifier.classify(tokens), expected["statistics"], strict=True):
        assert answer.probabilities == pytest.approx(probabilities, abs=1e-5)
    (answer,) = verifier.verify(tokens[0], tokens[1])
    assert answer.score == pytest.approx(expected["verifier"][0], abs=1e-5)
    assert synthesizer.speakers == ("anna", "bert")
    spoken = synthesizer.speak_tokens("HELLO WORLD", speaker="bert").codes[0]
    assert spoken.tolist() == expected["synthesizer"]


def test_the_cache_of_a_study_is_made_anew(tmp_path):
    """It is of other sounds in files of these names, so what is taken from it is wrong."""
    audio = tmp_path / "audio"
    audio.mkdir()
    for path in CLIPS:
        save_audio(audio / f"{path.stem}.wav", load_audio(path)[8000:18000])
    shutil.copytree(WRITTEN / "study", tmp_path / "report")
    tokenizer = make_tokenizer()
    study = Study(tokenizer, audio, tmp_path / "report")
    tokens = tokenizer.encode([audio / clip.path for clip in study.speech.clips])
    expected = [utterance.codes[0] for utterance in tokens]
    assert torch.from_numpy(study.frames.codes).equal(torch.cat(expected, dim=1))
    fresh = Study(tokenizer, audio, tmp_path / "fresh")
    for name in ("codes", "between"):
        assert getattr(study, name)().rows == getattr(fresh, name)().rows
