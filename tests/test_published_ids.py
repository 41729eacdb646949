"""SpeechBrain's repositories by their published ids, from a hub on this machine that logs what it is asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from encoders import tiny_model
from published_layout import reference_clips, write_codebooks, write_encoder, write_vocoder

from semtok import Tokenizer, Vocoder
from semtok.checkpoints.importing import import_speechbrain
from semtok.checkpoints.speechbrain.published import CODEBOOKS
from semtok.errors import CheckpointError

ID = "speechbrain/hifigan-wavlm-k1000-LibriTTS"
LAYERS = (1, 3, 7, 12, 18, 23)
ENCODER_FILES = ["config.json", "model.safetensors", "preprocessor_config.json"]


@pytest.fixture(scope="module")
def published(wavlm, tmp_path_factory) -> Path:
    """A repository as published but for its widths, and the encoder that it needs, as deep as the tests go."""
    folder = tmp_path_factory.mktemp("published")
    generator = torch.Generator().manual_seed(0)
    centroids = {layer: torch.randn(1000, 32, generator=generator) for layer in LAYERS}
    write_codebooks(folder / "repository", centroids, "kmeans/LibriSpeech_wavlm_k1000_L{layer}.pt")
    state = dict(wavlm.generator)
    dim = state["unit_embedding.weight"].shape[1]
    state["unit_embedding.weight"] = torch.randn(6001, dim, generator=generator)
    write_vocoder(folder / "repository", state, wavlm.settings | {"vocab_size": 6001})
    model = tiny_model("wavlm-large", num_hidden_layers=7)
    write_encoder(folder / "encoder", model.config.to_dict(), model.state_dict(), normalize=True)
    return folder


@pytest.fixture
def hub(hub_server, published):
    hub_server.add(ID, published / "repository")
    hub_server.add("microsoft/wavlm-large", published / "encoder")
    hub_server.add("me/wavlm", published / "encoder")
    return hub_server


@pytest.mark.parametrize("chosen", [None, "me/wavlm"])
def test_a_tokenizer_by_its_published_id_fetches_what_it_needs(hub, chosen):
    tokenizer = Tokenizer.from_pretrained(ID, layers=[3, 7], encoder=chosen)
    codebooks = [f"kmeans/LibriSpeech_wavlm_k1000_L{layer}.pt" for layer in (3, 7)]
    assert sorted(hub.downloads) == sorted([*ENCODER_FILES, *codebooks])
    assert set(hub.files("HEAD")) <= {*ENCODER_FILES, *codebooks}
    repositories = {"/".join(request.path.split("/")[1:3]) for request in hub.requests if request.file}
    assert repositories == {ID, chosen or "microsoft/wavlm-large"}

    assert (tokenizer.layers, tokenizer.codebook_sizes) == ((3, 7), (1000, 1000))
    assert tokenizer.source == f"{ID}@{hub.repos[ID].refs['main']}"
    encoder = hub.repos[chosen or "microsoft/wavlm-large"]
    assert tokenizer.config.encoder_revision == encoder.refs["main"]
    before = len(hub.downloads)
    clip = reference_clips()["speech"]
    again = Tokenizer.from_pretrained(ID, layers=[3, 7], encoder=chosen).encode(clip)
    assert torch.equal(again.codes, tokenizer.encode(clip).codes)
    assert len(hub.downloads) == before


def test_a_vocoder_by_its_published_id_fetches_what_it_needs(hub):
    vocoder = Vocoder.from_pretrained(ID)
    assert sorted(hub.downloads) == ["generator.ckpt", "hyperparams.yaml"]
    assert set(hub.files("HEAD")) == {"generator.ckpt", "hyperparams.yaml"}
    assert (vocoder.layers, vocoder.source) == (LAYERS, f"{ID}@{hub.repos[ID].refs['main']}")
    tokens = Tokenizer.from_pretrained(ID, layers=[3, 7]).encode(reference_clips()["speech"])
    assert vocoder.decode(tokens).shape == (1, 320 * int(tokens.lengths))


def test_a_published_id_is_imported(hub, tmp_path):
    import_speechbrain(ID, tmp_path, layers=[3, 7], revision="v1")
    saved = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "centroids.safetensors", "vocoder.safetensors"} <= saved
    assert "encoder" not in saved
    tokenizer, vocoder = Tokenizer.from_pretrained(tmp_path), Vocoder.from_pretrained(tmp_path)
    assert (tokenizer.config.encoder, tokenizer.layers) == ("microsoft/wavlm-large", (3, 7))
    assert vocoder.fingerprint == tokenizer.fingerprint
    clip = reference_clips()["speech"]
    assert torch.equal(tokenizer.encode(clip).codes, Tokenizer.from_pretrained(ID, layers=[3, 7]).encode(clip).codes)


def test_codebooks_alone_by_their_published_id(hub, wavlm, published, tmp_path):
    for dataset, family in (("LibriSpeech-100-360-500", "wavlm"), ("LJSpeech", "wavlm"), ("LJSpeech", "hubert")):
        name = f"{dataset}/{family}/{dataset.split('-')[0]}_{family}_k20_L{{layer}}.pt"
        write_codebooks(tmp_path / "repository", wavlm.centroids, name)
    hub.add(CODEBOOKS, tmp_path / "repository")
    with pytest.raises(CheckpointError, match=r"3 tokenizers, 3 of which .* semtok import speechbrain speechbrain/SSL"):
        Tokenizer.from_pretrained(CODEBOOKS)
    assert hub.downloads == []
    choice = {"encoder": "me/wavlm", "dataset": "LJSpeech", "num_clusters": 20}
    import_speechbrain(CODEBOOKS, tmp_path / "imported", layers=[4], **choice)
    files = ["config.json", "preprocessor_config.json", "LJSpeech/wavlm/LJSpeech_wavlm_k20_L4.pt"]
    assert sorted(hub.downloads) == sorted(files)  # not the encoder's weights, which are kept by reference
    tokenizer = Tokenizer.from_pretrained(tmp_path / "imported")
    assert torch.equal(tokenizer.centroids(4), wavlm.centroids[4])


def test_where_the_sources_disagree_the_encoder_is_asked_for(hub, tmp_path):
    name = "speechbrain/hifigan-wav2vec2-k1000-LibriTTS"
    choice = "pass encoder='facebook/wav2vec2-large' or encoder='facebook/wav2vec2-large-960h-lv60-self'"
    for load in (Tokenizer.from_pretrained, partial(import_speechbrain, folder=tmp_path / "out")):
        with pytest.raises(CheckpointError, match=choice):
            load(name)
    assert hub.requests == []
