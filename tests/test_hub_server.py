"""Loading through a hub that has a CDN, commits and access rights, and a network that has faults."""

from __future__ import annotations

import threading
from functools import partial

import helpers
import pytest
import torch
from checkpoints import CODEBOOK_SIZES, ENCODER_LAYERS, save_checkpoint
from encoders import tiny_model
from helpers import CLIPS
from hub_state import Answer, read_folder
from huggingface_hub import constants

from semtok import Tokenizer, Vocoder, load_audio
from semtok.errors import CheckpointError

refuses = partial(helpers.refuses, CheckpointError)


BOTH = pytest.mark.parametrize("kind", [Tokenizer, Vocoder])
FILES = {
    Tokenizer: ["config.json", "centroids.safetensors", "encoder/config.json", "encoder/model.safetensors"],
    Vocoder: ["config.json", "vocoder.safetensors"],
}
WEIGHTS = {Tokenizer: "centroids.safetensors", Vocoder: "vocoder.safetensors"}


def once(fault):
    """A fault that happens the first time only."""
    left = [fault]

    def first(request, answer):
        wrong = left[0](request, answer) if left else None
        if wrong is not None:
            left.clear()
        return wrong

    return first


def cut(request, answer):
    """The connection breaks off in the middle of a file from the CDN."""
    if request.method == "GET" and request.path.startswith("/cdn/") and len(answer.body) > 1000:
        return Answer(answer.status, answer.headers, answer.body, sent=len(answer.body) // 2)
    return None


def silent(request, answer):
    """The connection breaks off before the first byte of a file from the CDN, each time."""
    return Answer(answer.status, answer.headers, answer.body, sent=0) if request.path.startswith("/cdn/") else None


def broken(status, *, method="GET", path=""):
    """The server's own faults."""
    return lambda request, answer: Answer(status) if request.method == method and path in request.path else None


@pytest.fixture
def me(hub_server, istft_folder):
    """The repository me/tiny."""
    return hub_server.add("me/tiny", istft_folder)


def blobs(cache):
    """What of me/tiny is in the cache, by content, with anything that is there in part."""
    return sorted(path.read_bytes() for path in cache.glob("models--me--tiny/blobs/*"))


# --- what is asked for


@BOTH
def test_only_what_is_needed(kind, hub_server, me):
    loaded = kind.from_pretrained("me/tiny")
    assert sorted(hub_server.downloads) == sorted(FILES[kind])
    # The first question, whether there is a hub to answer, is about the file that is wanted first.
    assert sorted(hub_server.files("HEAD")) == sorted(["config.json", *FILES[kind]])
    assert {request.method for request in hub_server.requests} == {"HEAD", "GET"}
    assert loaded.source == f"me/tiny@{me.refs['main']}"


@BOTH
def test_again_nothing_is_downloaded(kind, hub_server, me, monkeypatch):
    commit = kind.from_pretrained("me/tiny").source.partition("@")[2]
    hub_server.requests.clear()
    assert kind.from_pretrained("me/tiny").source == f"me/tiny@{commit}"
    # Whether the branch is still at that commit, of which all is there.
    assert (hub_server.files("HEAD"), hub_server.downloads) == (["config.json"], [])
    hub_server.requests.clear()
    for arguments in ({"revision": commit}, {"local_files_only": True}):
        assert kind.from_pretrained("me/tiny", **arguments).source == f"me/tiny@{commit}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert kind.from_pretrained("me/tiny").source == f"me/tiny@{commit}"
    assert hub_server.requests == []


def test_some_layers_and_the_encoder_of_another_repository(hub_server, tokenizer, tmp_path):
    model = tiny_model("hubert-base", num_hidden_layers=ENCODER_LAYERS)
    model.save_pretrained(tmp_path / "encoder")
    encoder = hub_server.add("me/encoder", tmp_path / "encoder")
    commit = encoder.refs["main"]
    encoder.commit({"model.safetensors": b"another"})
    centroids = {layer: tokenizer.centroids(layer) for layer in CODEBOOK_SIZES}
    made = Tokenizer.from_centroids(model, centroids, normalize=True, encoder="me/encoder", encoder_revision=commit)
    assert made.source is None
    made.save_pretrained(tmp_path / "checkpoint")
    hub_server.add("me/tiny", tmp_path / "checkpoint")

    clip = load_audio(CLIPS[0])
    assert torch.equal(
        Tokenizer.from_pretrained("me/tiny", layers=[3]).encode(clip).codes, tokenizer.encode(clip, layers=[3]).codes
    )
    assert hub_server.downloads == ["config.json", "centroids.safetensors", "config.json", "model.safetensors"]


def test_a_renamed_repository(hub_server, me, tokenizer):
    hub_server.renamed["me/old"] = "me/tiny"
    assert Tokenizer.from_pretrained("me/old").fingerprint == tokenizer.fingerprint


# --- revisions


def test_revisions(hub_server, me, tmp_path):
    first, second = me.refs["main"], me.commit(read_folder(save_checkpoint(tmp_path / "new", "istft", seed=1)))
    third = me.commit(me.commits[first], branch="fix/x", message="back")
    found = {}
    for revision in (None, "main", "v1", "fix/x", first, second):
        loaded = [kind.from_pretrained("me/tiny", revision=revision) for kind in (Tokenizer, Vocoder)]
        assert loaded[0].source == loaded[1].source
        assert loaded[0].fingerprint == loaded[1].fingerprint
        found[revision] = (loaded[0].source.removeprefix("me/tiny@"), loaded[0].fingerprint)
    assert [commit for commit, _ in found.values()] == [second, second, first, third, first, second]
    assert found["v1"][1] == found["fix/x"][1] != found["main"][1]


def test_a_branch_that_moves_while_it_is_loaded(hub_server, me, tokenizer, tmp_path):
    """All files come from the commit that the first came from."""
    first, new = me.refs["main"], read_folder(save_checkpoint(tmp_path / "new", "istft", seed=1))

    def push(request, answer):
        if request.method == "GET" and request.file == "config.json" and me.refs["main"] == first:
            me.commit(new)

    hub_server.faults.append(push)
    loaded = Tokenizer.from_pretrained("me/tiny")
    assert me.refs["main"] != first
    assert (loaded.source, loaded.fingerprint) == (f"me/tiny@{first}", tokenizer.fingerprint)
    assert Tokenizer.from_pretrained("me/tiny").source == f"me/tiny@{me.refs['main']}"


@BOTH
def test_a_file_that_comes_later(kind, hub_server, istft_folder):
    repo = hub_server.add("me/tiny")
    with refuses("me/tiny"):
        kind.from_pretrained("me/tiny")
    repo.commit(read_folder(istft_folder))
    kind.from_pretrained("me/tiny")


# --- access


@BOTH
def test_gated(kind, hub_server, istft_folder):
    hub_server.add("me/gated", istft_folder, gated=True)
    for token in (False, "reads"):
        with refuses("access to me/gated is restricted: ask for it on its page"):
            kind.from_pretrained("me/gated", token=token)
    kind.from_pretrained("me/gated", token="writes")


@BOTH
def test_private(kind, hub_server, istft_folder):
    hub_server.add("me/private", istft_folder, private=True)
    with refuses("no repository me/private, or it is private (then pass token=)"):
        kind.from_pretrained("me/private", token=False)
    with refuses("cannot fetch config.json of me/private: ", "Invalid credentials"):
        kind.from_pretrained("me/private", token="wrong")
    kind.from_pretrained("me/private", token="reads")
    told = {request.path.split("/")[1] for request in hub_server.requests if "authorization" in request.headers}
    assert told == {"me"}  # the CDN is told no token


@BOTH
@pytest.mark.parametrize(
    ("name", "revision", "parts"),
    [
        (
            "me/nonesuch",
            None,
            [
                "the hub has no repository me/nonesuch, or it is private (then pass token=)",
                "no folder me/nonesuch",
                "tiny",
            ],
        ),
        ("me/tiny", "v9", ["me/tiny has no revision 'v9'"]),
        ("me/tiny", "0" * 40, ["me/tiny has no revision '0000"]),
        ("me/empty", None, ["me/empty has no file config.json: it is no checkpoint, or an incomplete one"]),
        ("me/--tiny..", None, ["'me/--tiny..' is no hub id"]),
    ],
)
def test_what_is_not_there(kind, hub_server, me, name, revision, parts):
    hub_server.add("me/empty")
    with refuses(*parts):
        kind.from_pretrained(name, revision=revision)


@BOTH
def test_a_missing_file(kind, hub_server, me):
    me.commits[me.refs["main"]].pop(WEIGHTS[kind])
    with refuses(f"me/tiny has no file {WEIGHTS[kind]}: it is no checkpoint, or an incom"):
        kind.from_pretrained("me/tiny")


# --- faults


@BOTH
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_recovers(kind, status, hub_server, me):
    hub_server.faults += [once(broken(status, method="HEAD", path="config.json")) for _ in range(3)]
    kind.from_pretrained("me/tiny")
    assert hub_server.files("HEAD")[:4] == ["config.json"] * 4


@BOTH
def test_a_server_that_does_not_know_what_it_has(kind, hub_server, me):
    hub_server.faults.append(broken(500, method="HEAD"))
    with refuses("config.json of me/tiny at revision v1", "500", "To work offline"):
        kind.from_pretrained("me/tiny", revision="v1")


@BOTH
def test_a_server_that_does_not_send_it(kind, hub_server, me):
    hub_server.faults.append(broken(503, path="/cdn/"))
    with refuses(f"cannot fetch {WEIGHTS[kind]} of me/tiny: ", "503", "To work offline"):
        kind.from_pretrained("me/tiny")
    hub_server.faults.clear()
    kind.from_pretrained("me/tiny")


@BOTH
def test_a_connection_cut_half_way_is_resumed(kind, hub_server, me, istft_folder, cache, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what has arrived is kept by pieces of this size
    hub_server.faults.append(once(cut))
    loaded = kind.from_pretrained("me/tiny")
    assert loaded.fingerprint == kind.from_pretrained(istft_folder).fingerprint
    (resumed,) = [request for request in hub_server.requests if "range" in request.headers]
    assert resumed.path.startswith("/cdn/")
    assert set(blobs(cache)) <= set(me.commits[me.refs["main"]].values())


@BOTH
def test_a_connection_cut_for_good(kind, hub_server, me, istft_folder, cache):
    """Half of a file arrives, then nothing more: it is not used, then or later."""
    hub_server.faults += [once(cut), silent]
    with refuses(f"cannot fetch {WEIGHTS[kind]} of me/tiny: ", "To work offline"):
        kind.from_pretrained("me/tiny")
    config = (istft_folder / "config.json").read_bytes()
    assert blobs(cache) == [config]
    with refuses(f"{WEIGHTS[kind]} of me/tiny is not in the cache, and only local"):
        kind.from_pretrained("me/tiny", local_files_only=True)
    hub_server.faults.clear()
    kind.from_pretrained("me/tiny")
    assert set(blobs(cache)) <= set(me.commits[me.refs["main"]].values())


@BOTH
def test_a_file_of_another_length_than_said(kind, hub_server, me, istft_folder, cache):
    def shorter(request, answer):
        return Answer(200, {}, answer.body[:-100]) if request.path.startswith("/cdn/") else None

    hub_server.faults.append(once(shorter))
    with refuses(f"cannot fetch {WEIGHTS[kind]} of me/tiny: ", "should be of size"):
        kind.from_pretrained("me/tiny")
    assert blobs(cache) == [(istft_folder / "config.json").read_bytes()]
    kind.from_pretrained("me/tiny")


@BOTH
def test_a_file_damaged_on_the_way(kind, hub_server, me, istft_folder, cache):
    def flipped(request, answer):
        if not request.path.startswith("/cdn/"):
            return None
        damaged = bytearray(answer.body)
        damaged[len(damaged) // 2] ^= 1
        return Answer(200, {}, bytes(damaged))

    hub_server.faults.append(once(flipped))
    with refuses(f"{WEIGHTS[kind]} of me/tiny arrived damaged: its SHA-256 is ", "try again"):
        kind.from_pretrained("me/tiny")
    assert blobs(cache) == [(istft_folder / "config.json").read_bytes()]
    with refuses(f"{WEIGHTS[kind]} of me/tiny is not in the cache"):
        kind.from_pretrained("me/tiny", local_files_only=True)
    kind.from_pretrained("me/tiny")


@BOTH
@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", "half"])
def test_corrupt_weights(kind, content, hub_server, me, istft_folder):
    good = (istft_folder / WEIGHTS[kind]).read_bytes()
    me.commit({WEIGHTS[kind]: good[: len(good) // 2] if content == "half" else content})
    with refuses(f"{WEIGHTS[kind]}", " cannot be loaded: ", "fetch it"):
        kind.from_pretrained("me/tiny")
    me.commit({WEIGHTS[kind]: good})
    kind.from_pretrained("me/tiny")


def test_weights_of_another_checkpoint(hub_server, me, other_folder):
    me.commit({"vocoder.safetensors": (other_folder / "vocoder.safetensors").read_bytes()})
    with refuses("is of tokenizer", ", config.json of tokenizer"):
        Vocoder.from_pretrained("me/tiny")


def test_many_at_once(hub_server, me, tokenizer):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(Tokenizer.from_pretrained("me/tiny").fingerprint))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tokenizer.fingerprint] * 4
