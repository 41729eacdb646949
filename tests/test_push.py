"""Saving and pushing: what a hub then holds, what its model card says, and that nothing is left half."""

from __future__ import annotations

import json
import re
from functools import partial

import helpers
import pytest
import torch
import yaml
from checkpoints import CODEBOOK_SIZES, ENCODER_LAYERS
from encoders import tiny_model
from helpers import CLIPS
from hub_state import Answer
from huggingface_hub import constants

from semtok import Tokenizer, Vocoder, load_audio
from semtok.errors import CheckpointError

# Of huggingface_hub itself, where it uploads large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CHECKPOINT = {
    ".gitattributes",
    "README.md",
    "centroids.safetensors",
    "config.json",
    "encoder/config.json",
    "encoder/model.safetensors",
    "vocoder.safetensors",
}


refuses = partial(helpers.refuses, CheckpointError)


@pytest.fixture(autouse=True)
def no_xet(monkeypatch):
    """Large files go as they did before the hub had a storage protocol of its own, which this one does not speak."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture(scope="module")
def vocoder(istft_folder):
    return Vocoder.from_pretrained(istft_folder)


@pytest.fixture(scope="module")
def referring(tokenizer):
    """The same centroids, with an encoder that is at the hub."""
    model = tiny_model("hubert-base", num_hidden_layers=ENCODER_LAYERS)
    centroids = {layer: tokenizer.centroids(layer) for layer in CODEBOOK_SIZES}
    return Tokenizer.from_centroids(model, centroids, normalize=True, encoder="me/encoder", encoder_revision="a" * 40)


def files(hub_server, name, branch="main"):
    repo = hub_server.repos[name]
    return repo.commits[repo.refs[branch]]


def metadata(card):
    return yaml.safe_load(card.decode().split("---\n")[1])


# --- to a hub and back


@pytest.mark.parametrize("large_files", [True, False])
def test_there_and_back(hub_server, tokenizer, vocoder, large_files):
    hub_server.large_files = large_files
    tokens = tokenizer.encode(load_audio(CLIPS[0]))
    first = tokenizer.push_to_hub("me/new", token="writes")
    second = vocoder.push_to_hub("me/new", token="writes")
    repo = hub_server.repos["me/new"]
    assert not repo.private
    assert repo.refs["main"] == second != first
    assert len(repo.commits) == 3  # the hub makes the first, each push one
    assert repo.messages[1:] == [f"Add {part} {tokenizer.fingerprint}" for part in ("tokenizer", "vocoder")]
    assert files(hub_server, "me/new").keys() == CHECKPOINT

    loaded = Tokenizer.from_pretrained("me/new", revision=first)
    assert loaded.source == f"me/new@{first}"
    assert torch.equal(loaded.encode(load_audio(CLIPS[0])).codes, tokens.codes)
    assert Tokenizer.from_pretrained("me/new").source == f"me/new@{second}"
    assert torch.equal(Vocoder.from_pretrained("me/new").decode(tokens), vocoder.decode(tokens))
    with refuses("me/new holds a tokenizer alone, no vocoder"):
        Vocoder.from_pretrained("me/new", revision=first)


def test_again_nothing_changes(hub_server, tokenizer):
    commit = tokenizer.push_to_hub("me/new", token="writes")
    for _ in range(3):
        assert tokenizer.push_to_hub("me/new", token="writes") == commit
    assert len(hub_server.repos["me/new"].commits) == 2


def test_private(hub_server, tokenizer, vocoder):
    tokenizer.push_to_hub("me/new", private=True, token="writes")
    assert hub_server.repos["me/new"].private
    vocoder.push_to_hub("me/new", private=True, token="writes")
    with refuses("the hub has no repository me/new, or it is private"):
        Vocoder.from_pretrained("me/new", token=False)
    assert Vocoder.from_pretrained("me/new", token="reads").fingerprint == vocoder.fingerprint
    hub_server.add("me/public")
    with refuses("me/public is there already and public: make it private on its page"):
        vocoder.push_to_hub("me/public", private=True, token="writes")
    assert files(hub_server, "me/public").keys() == {".gitattributes"}


def test_a_branch(hub_server, tokenizer, vocoder):
    tokenizer.push_to_hub("me/new", token="writes", commit_message="first")
    commit = vocoder.push_to_hub("me/new", token="writes", revision="try/this", commit_message="second")
    assert hub_server.repos["me/new"].messages[1:] == ["first", "second"]
    assert files(hub_server, "me/new").keys() == CHECKPOINT - {"vocoder.safetensors"}
    assert Vocoder.from_pretrained("me/new", revision="try/this").source == f"me/new@{commit}"
    vocoder.push_to_hub("me/branch", token="writes", revision="dev")
    assert files(hub_server, "me/branch").keys() == {".gitattributes"}
    assert Vocoder.from_pretrained("me/branch", revision="dev").fingerprint == vocoder.fingerprint


# --- the encoder


def test_an_encoder_by_reference_or_beside(hub_server, referring, vocoder, tokenizer, tmp_path):
    clip = load_audio(CLIPS[0])
    referring.push_to_hub("me/new", token="writes")
    assert files(hub_server, "me/new").keys() == CHECKPOINT - {
        "encoder/config.json",
        "encoder/model.safetensors",
        "vocoder.safetensors",
    }
    section = json.loads(files(hub_server, "me/new")["config.json"])["tokenizer"]
    assert (section["encoder"], section["encoder_revision"]) == ("me/encoder", "a" * 40)

    referring.save_pretrained(tmp_path, include_encoder=True)
    section = json.loads((tmp_path / "config.json").read_text())["tokenizer"]
    assert section["encoder"] == "encoder"
    assert "encoder_revision" not in section
    loaded = Tokenizer.from_pretrained(tmp_path)
    assert loaded.fingerprint == referring.fingerprint
    assert loaded.source == str(tmp_path)
    assert torch.equal(loaded.encode(clip).codes, tokenizer.encode(clip).codes)
    loaded.push_to_hub("me/whole", token="writes")
    assert Tokenizer.from_pretrained("me/whole").fingerprint == referring.fingerprint
    with refuses("the weights are rounded to torch.bfloat16"):
        Tokenizer.from_pretrained(tmp_path, dtype="bfloat16").save_pretrained(tmp_path / "no", include_encoder=True)
    assert not (tmp_path / "no").exists()


# --- the card


def test_the_card(hub_server, referring, vocoder, tmp_path):
    report = {
        "fingerprint": referring.fingerprint,
        "clips": 3,
        "seconds": 20.5,
        "judges": {"recognizer": "openai/whisper-base@abc"},
        "metrics": {
            "stoi": {"heading": "STOI ↑", "unit": "", "decimals": 3},
            "wer": {"heading": "WER, % ↓", "unit": "%", "decimals": 1},
        },
        "rows": [
            {"layers": [], "bitrate": None, "scores": {"stoi": 1.0, "wer": 0.25}},
            {"layers": [1, 3], "bitrate": 511.4, "scores": {"stoi": 0.8765, "wer": None}},
        ],
    }
    (tmp_path / "resynthesis.json").write_text(json.dumps(report))
    told = {"license": "apache-2.0", "datasets": ["openslr/librispeech_asr"]}
    referring.push_to_hub("me/new", token="writes", private=True, evaluation=tmp_path / "resynthesis.json", **told)
    card = files(hub_server, "me/new")["README.md"]
    assert metadata(card) == told | {
        "library_name": "semtok",
        "pipeline_tag": "feature-extraction",
        "tags": ["speech", "speech-tokens", "semantic-tokens"],
        "base_model": "me/encoder",
    }
    text = card.decode()
    for part in (
        "# me/new",
        "- Layers: 1, 3, 4",
        "- Codebook sizes: 40, 30, 12",
        "- Frame rate: 50 Hz, of speech at 16000 Hz",
        "- Bitrate: 0.69 kbit/s",
        "- Encoder: [me/encoder](https://huggingface.co/me/encoder) at `" + "a" * 40,
        "- Data: openslr/librispeech_asr",
        "- Licence: apache-2.0",
        "| layers | kbit/s | STOI ↑ | WER, % ↓ |",
        "| original | – | 1.000 | 25.0 |",
        "| 1, 3 | 0.51 | 0.876 | – |",
        "Means over 3 clips, 20.5 s; first the recordings themselves. Recognizer: openai/whisper-base@abc.",
    ):
        assert part in text, part
    assert "Vocoder" not in text


def test_the_snippet_of_the_card_runs(hub_server, tokenizer, vocoder, tmp_path, monkeypatch):
    tokenizer.push_to_hub("me/new", token="writes")
    vocoder.push_to_hub("me/new", token="writes")
    card = files(hub_server, "me/new")["README.md"]
    assert metadata(card)["pipeline_tag"] == "audio-to-audio"
    (snippet,) = re.findall(r"```python\n(.*?)```", card.decode(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(snippet.replace("speech.wav", str(CLIPS[0])), {})
    assert load_audio(tmp_path / "speech_again.wav").std() > 0


def test_a_card_that_somebody_changed_stays(hub_server, tokenizer, vocoder):
    tokenizer.push_to_hub("me/new", token="writes")
    hub_server.repos["me/new"].commit({"README.md": b"---\nlicense: mit\n---\nMine."})
    vocoder.push_to_hub("me/new", token="writes")
    assert files(hub_server, "me/new")["README.md"] == b"---\nlicense: mit\n---\nMine."


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["cannot read", "resynthesis.json", "No such file"]),
        ("{}", ["resynthesis.json is no report of an evaluation (KeyError", "semtok evaluate"]),
        ('{"fingerprint": "x", "rows": []}', ["resynthesis.json is no report of an evaluation (KeyError: 'metrics')"]),
        (
            '{"fingerprint": "x", "rows": [], "metrics": {}, "judges": {}, "clips": 1, "seconds": 1}',
            ["resynthesis.json is of tokenizer x, this checkpoint of"],
        ),
    ],
)
def test_no_evaluation_of_it(hub_server, tokenizer, tmp_path, content, parts):
    if content is not None:
        (tmp_path / "resynthesis.json").write_text(content)
    with refuses(*parts):
        tokenizer.push_to_hub("me/new", token="writes", evaluation=tmp_path / "resynthesis.json")
    assert "me/new" not in hub_server.repos


# --- what is refused, and leaves things as they were


@pytest.mark.parametrize(
    ("token", "parts"),
    [
        (False, ["cannot push to me/new: log in with `hf auth login`, or pass a token= that may write", "401"]),
        ("wrong", ["cannot push to me/new: log in with", "Invalid credentials"]),
        ("reads", ["cannot push to me/new: pass a token= that may write there", "you must use a write token"]),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_refused_tokens(hub_server, tokenizer, istft_folder, token, parts, there):
    if there:
        hub_server.add("me/new")
    with refuses(*parts):
        tokenizer.push_to_hub("me/new", token=token)
    assert ("me/new" in hub_server.repos) == there
    if there:
        assert files(hub_server, "me/new").keys() == {".gitattributes"}


@pytest.mark.parametrize("path", ["/upload/", "/preupload/", "/commit/", "/repos/create", "validate-yaml", "/batch"])
def test_a_push_that_breaks_off(hub_server, tokenizer, path):
    hub_server.faults.append(lambda request, answer: Answer(503) if path in request.path else None)
    with refuses("cannot push to me/new"):
        tokenizer.push_to_hub("me/new", token="writes")
    if "me/new" in hub_server.repos:
        whole = CHECKPOINT - {"vocoder.safetensors"} if path == "/commit/" else {".gitattributes"}
        assert files(hub_server, "me/new").keys() == whole
    hub_server.faults.clear()
    tokenizer.push_to_hub("me/new", token="writes")
    assert Tokenizer.from_pretrained("me/new").fingerprint == tokenizer.fingerprint


def test_a_push_of_somebody_else_meanwhile(hub_server, tokenizer):
    repo = hub_server.add("me/new")

    def push(request, answer):
        if "/preupload/" in request.path:
            repo.commit({"theirs.txt": b""})

    hub_server.faults.append(push)
    with refuses("cannot push to me/new: it was changed meanwhile, push again", "412"):
        tokenizer.push_to_hub("me/new", token="writes")
    assert files(hub_server, "me/new").keys() == {".gitattributes", "theirs.txt"}


def test_what_else_is_refused(hub_server, tokenizer, vocoder, other_folder, monkeypatch):
    for name in ("new", "a/b/c", "me/--new.."):
        with refuses(f"'{name}' is no hub id"):
            tokenizer.push_to_hub(name, token="writes")
    hub_server.add("me/other", other_folder)
    with refuses("cannot save to", "me/other: tokenizer", "cannot share a folder"):
        vocoder.push_to_hub("me/other", token="writes")
    hub_server.add("me/model").commit({"config.json": b'{"model_type": "hubert"}'})
    with refuses("config.json has format_version None"):
        tokenizer.push_to_hub("me/model", token="writes")
    with refuses("cannot push to me/new", "Invalid metadata in README.md", '"license" must be one of'):
        tokenizer.push_to_hub("me/new", token="writes", license="nonesuch")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refuses("cannot push to me/new", "offline mode is enabled"):
        tokenizer.push_to_hub("me/new", token="writes")
