"""Recognizers and speaker models that judge: what they hear, where they come from, what is refused."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CLIPS
from judge_models import WINDOW_SECONDS, save_ctc, save_whisper, save_x_vector
from threadpoolctl import threadpool_limits

from semtok.audio.io import load_audio
from semtok.errors import CheckpointError, SemtokError
from semtok.evaluation import load_judges
from semtok.evaluation.recognizers import load_recognizer
from semtok.evaluation.speakers import load_speaker_model

WHISPER_FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def ctc(tmp_path_factory) -> Path:
    return save_ctc(tmp_path_factory.mktemp("ctc"))


@pytest.fixture(scope="module")
def x_vector(tmp_path_factory) -> Path:
    return save_x_vector(tmp_path_factory.mktemp("x_vector"))


@pytest.fixture(scope="module")
def speech():
    return load_audio(CLIPS[0], sample_rate=16000).numpy()


# --- recognizers


@pytest.mark.parametrize("model", ["whisper", "ctc"])
def test_a_transcript_does_not_depend_on_what_is_transcribed_beside_it(model, request, speech):
    recognizer = load_recognizer(str(request.getfixturevalue(model)))
    pieces = [speech[:8000], speech[:30000], speech[4000:36000], np.tile(speech, 3)[: 16000 * WINDOW_SECONDS + 8000]]
    together = recognizer.transcribe(pieces)
    assert together == [recognizer.transcribe([piece])[0] for piece in pieces]
    assert len(set(together)) > 1


def test_a_transcript_that_loops_is_bounded(whisper, speech):
    """The tiny Whisper never stops by itself: a token of it is a byte."""
    for seconds in (1, 3):
        transcript = load_recognizer(str(whisper)).transcribe([speech[: 16000 * seconds]])[0]
        assert 0 < len(transcript) <= 12 * (seconds + 1)


def test_names_tell_the_model_and_how_it_was_used(whisper, ctc):
    assert load_recognizer(str(whisper), language="de", dtype="bfloat16").name == (
        f"{whisper.resolve()}, language de, bfloat16, 5 beams"
    )
    assert load_recognizer(str(ctc)).name == f"{ctc.resolve()}, CTC, float32"


def test_words_are_those_of_whispers_normaliser(whisper, tmp_path):
    text = "Don't worry, Mr. Grey: it's twenty-one (laughs) colours \u2013 \u00dcbung."
    english = load_recognizer(str(whisper))
    assert english.words(text) == ["do", "not", "worry", "mister", "grey", "it", "is", "21", "colours", "ubung"]
    spelling = Path(shutil.copytree(whisper, tmp_path / "spelling"))
    (spelling / "normalizer.json").write_text(json.dumps({"colours": "colors", "grey": "gray"}))
    assert load_recognizer(str(spelling)).words("grey colours") == ["gray", "colors"]
    assert load_recognizer(str(whisper), language="de").words("\u00dcbung, 21-mal!") == ["\u00fcbung", "21", "mal"]
    assert english.words("") == []


def test_a_language_that_is_not_known_is_an_error_with_those_that_are(whisper, ctc):
    with pytest.raises(SemtokError, match=r"knows no language 'xx'; it knows de, en$"):
        load_recognizer(str(whisper), language="xx")
    with pytest.raises(SemtokError, match=r"knows no language 'german'; it knows af, .* de, "):
        load_recognizer(str(ctc), language="german")


def test_another_language_is_noticed(whisper, ctc, speech):
    heard = {
        language: load_recognizer(str(whisper), language=language).other_language(speech) for language in ("en", "de")
    }
    # it knows two, so it is sure that the clip is in one of them
    assert heard in ({"en": "de", "de": None}, {"en": None, "de": "en"})
    assert load_recognizer(str(ctc)).other_language(speech) is None


# --- speaker models


def test_a_voice_is_of_unit_length_and_the_same_at_once_and_again(x_vector, speech):
    model = load_speaker_model(str(x_vector))
    voice = model.embed(speech)
    assert voice.shape == (24,) and np.linalg.norm(voice) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(model.embed(speech), voice)
    assert not np.allclose(model.embed(speech[:16000]), voice, atol=1e-3)
    assert model.name == str(x_vector.resolve())


@pytest.mark.parametrize("name", ["x_vector", "resemblyzer"])
def test_no_voice_is_nan(name, request, speech):
    model = load_speaker_model(name if name == "resemblyzer" else str(request.getfixturevalue(name)))
    assert np.isnan(model.embed(np.zeros_like(speech))).all()
    assert np.isfinite(model.embed(speech)).all()


def test_too_little_speech_for_an_x_vector_is_nan(x_vector, speech):
    assert np.isnan(load_speaker_model(str(x_vector)).embed(speech[:2000])).all()


# --- where they come from


@pytest.mark.parametrize("file", WHISPER_FILES)
def test_a_folder_that_lacks_a_file_is_an_error_that_names_it(whisper, tmp_path, file):
    folder = Path(shutil.copytree(whisper, tmp_path / "copy"))
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=rf"{folder} has no file .*{file}"):
        load_judges(str(folder), "resemblyzer")


def test_a_folder_with_broken_files_is_an_error(whisper, x_vector, tmp_path):
    for number, (file, content, message) in enumerate(
        [
            ("config.json", b"{", r"config\.json is not JSON"),
            ("model.safetensors", b"truncated", "cannot be loaded.*fetch it again"),
            ("model.safetensors", (x_vector / "model.safetensors").read_bytes(), "lack .*: they are of another model"),
            ("tokenizer.json", b"{", "AutoTokenizer cannot load"),
            ("preprocessor_config.json", b"{", "AutoFeatureExtractor cannot load"),
        ]
    ):
        folder = Path(shutil.copytree(whisper, tmp_path / str(number)))
        (folder / file).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_recognizer(str(folder))


def test_models_of_another_kind_are_errors(whisper, ctc, x_vector):
    with pytest.raises(CheckpointError, match=r"is a WavLMForXVector: a recognizer is a Whisper"):
        load_recognizer(str(x_vector))
    with pytest.raises(CheckpointError, match=r"is a Wav2Vec2ForCTC: a speaker model is a \.\.\.ForXVector"):
        load_speaker_model(str(ctc))
    for name in ("tiny", "no such folder", "a/b/c"):
        with pytest.raises(CheckpointError, match=f"'{name}' is no model: expected a folder"):
            load_judges(name, "resemblyzer")


def test_judges_of_the_hub_tell_their_commit(hub_server, whisper, x_vector, speech):
    for name, folder in (("openai/whisper-base", whisper), ("me/voices", x_vector)):
        hub_server.add(name).commit({path.name: path.read_bytes() for path in folder.iterdir()})
    commit, other = (hub_server.repos[name].refs["main"] for name in ("openai/whisper-base", "me/voices"))
    judges = load_judges(speaker_model="me/voices")
    assert judges.names == {
        "recognizer": f"openai/whisper-base@{commit}, language en, float32, 5 beams",
        "speaker model": f"me/voices@{other}",
    }
    assert judges.missing == ()
    assert judges.recognizer.transcribe([speech]) == load_recognizer(str(whisper)).transcribe([speech])
    assert load_speaker_model(f"me/voices@{other}").name == f"me/voices@{other}"


def test_judges_that_the_hub_does_not_give_are_missing(hub_server):
    judges = load_judges()
    assert judges.recognizer is None and list(judges.names) == ["speaker model"]
    assert judges.speaker_model.name.startswith("resemblyzer ")
    no_words, no_voice = judges.missing
    assert no_words.startswith("No WER and dWER (--recognizer also takes a folder): the hub has no repository openai/")
    assert no_voice.startswith("Speaker similarity by resemblyzer (--speaker-model also takes a folder): the hub")
    named = load_judges(speaker_model="me/voices", local_files_only=True)
    assert named.speaker_model is None and named.names == {}
    assert "me/voices is not in the cache" in named.missing[1]


def test_resemblyzer_runs_on_one_thread_of_its_own_alone(monkeypatch):
    """How many threads the rest of the process has stays as it is, meanwhile and afterwards."""
    model = load_speaker_model("resemblyzer")
    threads = {}

    def embed(speech):
        threads["inside"] = torch.get_num_threads()
        other = threading.Thread(target=lambda: threads.update(beside=torch.get_num_threads()))
        other.start()
        other.join()
        return np.zeros(256, np.float32)

    monkeypatch.setattr(model._model, "embed_utterance", embed)
    with threadpool_limits(3, user_api="openmp"):
        beside = threading.Thread(target=lambda: threads.update(before=torch.get_num_threads()))
        beside.start()
        beside.join()
        model.embed(load_audio(CLIPS[0]).numpy())
        assert torch.get_num_threads() == 3
    assert threads["inside"] == 1 and threads["beside"] == threads["before"]
