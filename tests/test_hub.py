"""Names -> files: bundled, folders, and a hub on this machine that answers as the real one does."""

from __future__ import annotations

import itertools
import shutil
import socket
import threading
import time
from functools import partial
from pathlib import Path

import helpers
import pytest
import torch
from checkpoints import CODEBOOK_SIZES, ENCODER_LAYERS
from encoders import tiny_model
from helpers import CLIPS
from huggingface_hub import constants

from semtok import Tokenizer, Vocoder, load_audio
from semtok.checkpoints import hub as hub_module
from semtok.checkpoints.hub import BUNDLED, bundled_names, public_name, resolve
from semtok.errors import CheckpointError

BOTH = pytest.mark.parametrize("kind", [Tokenizer, Vocoder])


refuses = partial(helpers.refuses, CheckpointError)


@pytest.fixture
def hub(hub_server, istft_folder):
    """A hub with the checkpoint me/tiny."""
    hub_server.add("me/tiny", istft_folder)
    return hub_server


@pytest.fixture
def no_network(reach):
    """The hub's address is a port of this machine where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        reach(f"http://127.0.0.1:{unused.getsockname()[1]}")


@pytest.fixture
def encoder_by_reference(hub, tokenizer, tmp_path):
    """Makes me/tiny refer to its encoder, me/encoder, which is stored as older tools did; the files of me/encoder."""
    model = tiny_model("hubert-base", num_hidden_layers=ENCODER_LAYERS)
    model.save_pretrained(tmp_path / "encoder")
    (tmp_path / "encoder" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "encoder" / "pytorch_model.bin")
    encoder = hub.add("me/encoder", tmp_path / "encoder")
    commit = encoder.refs["main"]

    centroids = {layer: tokenizer.centroids(layer) for layer in CODEBOOK_SIZES}
    reference = {"encoder": "me/encoder", "encoder_revision": commit}
    made = Tokenizer.from_centroids(model, centroids, normalize=True, **reference)
    made.save_pretrained(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint" / "encoder").exists()
    hub.add("me/tiny", tmp_path / "checkpoint")
    return encoder.commits[commit]


# --- on this machine


def test_bundled_checkpoints_go_by_their_name():
    assert "tiny" in bundled_names()
    for name in bundled_names():
        assert resolve(name).folder == BUNDLED / name
        assert Tokenizer.from_pretrained(name).fingerprint == Vocoder.from_pretrained(name).fingerprint


def test_what_is_published_names_no_folder_of_this_machine(istft_folder):
    sources = [str(resolve(name)) for name in ("tiny", istft_folder, "owner/name")]
    assert [public_name(source) for source in sources] == ["tiny", None, "owner/name@main"]


@BOTH
@pytest.mark.parametrize(
    "name", ["", "nonesuch", "a/b/c", "/no/such/folder", Path("no/folder"), "config.json", "http://a/b"]
)
def test_names_of_nothing(kind, name):
    with refuses(
        f"{str(name)!r} is no checkpoint: expected a bundled name (",
        "tiny",
        "), an existing folder (looked from",
        "owner/name",
    ):
        kind.from_pretrained(name if name else "")


@BOTH
def test_a_file_is_no_checkpoint(kind, istft_folder):
    with refuses("config.json' is no checkpoint: expected a bundled name"):
        kind.from_pretrained(istft_folder / "config.json")


@BOTH
def test_a_folder_has_no_revisions(kind, istft_folder):
    with refuses(f"{str(istft_folder)!r} is the folder {istft_folder}, which has no revision 'v1'"):
        kind.from_pretrained(istft_folder, revision="v1")


def test_a_folder_goes_before_a_hub_id(istft_folder, tmp_path, monkeypatch, no_network):
    shutil.copytree(istft_folder, tmp_path / "me" / "tiny")
    monkeypatch.chdir(tmp_path)
    Tokenizer.from_pretrained("me/tiny")


# --- a hub that answers


def test_a_checkpoint_from_the_hub(hub, tokenizer):
    clip = load_audio(CLIPS[0])
    loaded = Tokenizer.from_pretrained("me/tiny")
    tokens = loaded.encode(clip)
    assert torch.equal(tokens.codes, tokenizer.encode(clip).codes)
    assert Vocoder.from_pretrained("me/tiny", revision="v1").decode(tokens).isfinite().all()
    for revision in (None, "main", "v1", hub.repos["me/tiny"].refs["v1"]):
        assert Tokenizer.from_pretrained("me/tiny", revision=revision).fingerprint == tokenizer.fingerprint
    assert len(hub.downloads) == len(set(hub.downloads)) == 5  # every file was fetched once


def test_what_was_downloaded_works_offline(hub, monkeypatch):
    for kind in (Tokenizer, Vocoder):
        kind.from_pretrained("me/tiny")
    hub.stop()
    for kind in (Tokenizer, Vocoder):
        kind.from_pretrained("me/tiny")  # the hub cannot be reached
        kind.from_pretrained("me/tiny", local_files_only=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for kind in (Tokenizer, Vocoder):
        kind.from_pretrained("me/tiny")


def test_a_cache_of_ones_own(hub, tmp_path):
    Tokenizer.from_pretrained("me/tiny", cache_dir=tmp_path / "mine")
    assert not (tmp_path / "cache").exists()
    Tokenizer.from_pretrained("me/tiny", cache_dir=str(tmp_path / "mine"), local_files_only=True)
    with refuses("config.json of me/tiny is not in the cache, and only local files were asked for", "To work offline"):
        Tokenizer.from_pretrained("me/tiny", local_files_only=True)


def test_an_encoder_by_reference(encoder_by_reference, hub, tokenizer, tmp_path, monkeypatch):
    clip = load_audio(CLIPS[0])
    expected = tokenizer.encode(clip, layers=[3]).codes
    (tmp_path / "elsewhere" / "me" / "encoder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")  # a folder of that name is not what the checkpoint means
    loaded = Tokenizer.from_pretrained("me/tiny", layers=[3])
    assert torch.equal(loaded.encode(clip).codes, expected)
    assert len(loaded.encoder.model.encoder.layers) == 3

    loaded.save_pretrained(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["centroids.safetensors", "config.json"]
    hub.stop()
    for _ in range(2):
        for name, local_files_only in itertools.product(("me/tiny", tmp_path / "saved"), (False, True)):
            again = Tokenizer.from_pretrained(name, layers=[3], local_files_only=local_files_only)
            assert torch.equal(again.encode(clip).codes, expected)
        # That there is no model.safetensors was noted here; by other tools it is not, and offline nobody can know.
        shutil.rmtree(tmp_path / "cache" / "models--me--encoder" / ".no_exist", ignore_errors=True)


def test_a_truncated_encoder_by_reference(encoder_by_reference):
    encoder_by_reference["pytorch_model.bin"] = encoder_by_reference["pytorch_model.bin"][:-100]
    with refuses("pytorch_model.bin: the zip file is damaged", "fetch it again"):
        Tokenizer.from_pretrained("me/tiny")


def test_an_encoder_without_weights(encoder_by_reference):
    del encoder_by_reference["pytorch_model.bin"]
    with refuses(
        "me/encoder has no file model.safetensors or pytorch_model.bin or model.safetensors.index.json or "
        "pytorch_model.bin.index.json: it is no checkpoint, or an incomplete"
    ):
        Tokenizer.from_pretrained("me/tiny")


@BOTH
def test_no_network(kind, no_network):
    with refuses(
        "config.json of me/tiny is not in the cache, and the hub cannot be asked",
        "To work offline, download it once while connected, or pass the path of a local folder",
        "local_files_only=True or HF_HUB_OFFLINE=1",
    ):
        kind.from_pretrained("me/tiny")


@BOTH
def test_a_proxy_that_refuses(kind, hub, reach, monkeypatch):
    """An error of the network that huggingface_hub lets through as it is."""
    monkeypatch.setenv("HTTPS_PROXY", hub.endpoint)
    reach("https://hub.invalid")
    with refuses("config.json of me/tiny is not in the cache, and the hub cannot be asked: 501", "To work offline"):
        kind.from_pretrained("me/tiny")


@BOTH
def test_a_hub_out_of_reach_is_tried_once(kind, no_network, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("huggingface_hub waits to try again"))
    with refuses("config.json of nobody/nothing-here is not in the cache", "HF_HUB_OFFLINE=1"):
        kind.from_pretrained("nobody/nothing-here")


def test_a_resolver_that_does_not_answer(reach, monkeypatch):
    reach("https://hub.invalid")
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: released.wait(60) and [])
    monkeypatch.setattr(hub_module, "_PATIENCE", 0.5)
    try:
        with refuses("it gave no answer in 0.5 s", "To work offline"):
            Tokenizer.from_pretrained("nobody/nothing-here")
    finally:
        released.set()


@BOTH
def test_offline_by_choice(kind, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refuses(
        "config.json of me/tiny is not in the cache, and the hub cannot be asked", "offline", "To work offline"
    ):
        kind.from_pretrained("me/tiny")
    assert hub.downloads == []
