"""Rows of codes from a weighted sum of layers: exact, in every file, and refused where the weights make no sense."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from checkpoints import ENCODER_LAYERS, make_tokenizer, make_vocoder
from encoders import tiny_model
from helpers import CLIPS, refuses

from semtok import Tokenizer, Tokens, Vocoder, load_audio
from semtok.codebooks.segmentation import Segmentation
from semtok.corpus import encode_corpus, read
from semtok.errors import ConfigError, LayerError, SemtokError
from semtok.export.onnx import compare_onnx, export_onnx
from semtok.language.vocabulary import UnitVocabulary

WEIGHTS = {"mix": {1: 0.25, 2: 0.25, 4: 0.5}, "values": {3: 1.0}}
"""One name is that of a method of modules and mappings."""


@pytest.fixture(scope="module")
def speech() -> list[torch.Tensor]:
    return [load_audio(clip) for clip in CLIPS[:2]]


@pytest.fixture(scope="module")
def tokenizer(speech) -> Tokenizer:
    """Of a numbered layer and two mixtures, one of them with two residual stages."""
    plain = make_tokenizer()
    model, generator = plain.encoder.model, torch.Generator().manual_seed(0)
    blank = {layer: torch.randn(2, 32, generator=generator) for layer in WEIGHTS}
    frames = Tokenizer.from_centroids(model, blank, normalize=True, mixtures=WEIGHTS).features(speech[0])[0]
    points = dict(zip(WEIGHTS, frames[:, torch.randperm(len(frames[0]), generator=generator)[:20]], strict=True))
    centroids = {
        1: plain.centroids(1),
        "mix": [points["mix"], torch.linspace(0.1, 0.5, 8)[:, None] * points["values"][:8]],
        "values": points["values"],
    }
    return Tokenizer.from_centroids(model, centroids, normalize=True, mixtures=WEIGHTS)


def test_features_are_the_weighted_sum_of_normalised_layers(tokenizer, speech):
    layers = make_tokenizer().encoder
    wave, length = speech[0][None], torch.tensor([len(speech[0])])
    features = layers(wave, length, [1, 2, 4])[0][0]
    normalised = (features - features.mean(-1, keepdim=True)) / features.std(-1, correction=0, keepdim=True)
    expected = 0.25 * normalised[0] + 0.25 * normalised[1] + 0.5 * normalised[2]
    torch.testing.assert_close(tokenizer.features(speech[0], layers=["mix"])[0, 0], expected, atol=1e-3, rtol=1e-3)
    assert tokenizer.layers == (1, "mix", "values") and tokenizer.stages == (1, 2, 1)
    assert tokenizer.layer_weights == WEIGHTS


def test_a_clip_has_the_same_codes_alone_in_a_batch_and_in_windows(tokenizer, speech):
    batch = tokenizer.encode(speech)
    for number, clip in enumerate(speech):
        alone = tokenizer.encode(clip)
        frames = alone.codes.shape[2]
        assert torch.equal(batch.codes[number, :, :frames], alone.codes[0])
    some = tokenizer.encode(speech[0], layers=["values", 1]).codes[0]
    assert torch.equal(some, batch.codes[0, [3, 0], : some.shape[1]])


def test_windows_and_streams_agree_with_the_whole(tokenizer, speech):
    whole = tokenizer.encode(speech[0], layers=["mix"]).codes
    windows = tokenizer.encode(speech[0], layers=["mix"], chunk_seconds=1, context_seconds=1).codes
    assert (whole == windows).float().mean() > 0.8
    statistics = tokenizer.encoder.statistics([speech[0]])
    with tokenizer.stream(layers=["mix"], statistics=statistics, look_ahead_seconds=1) as stream:
        streamed = torch.cat([stream.push(part).codes for part in speech[0].split(4000)] + [stream.flush().codes], 2)
    assert streamed.shape == whole.shape and (whole == streamed).float().mean() > 0.8


def test_a_folder_gives_the_same_tokens_and_speech(tokenizer, speech, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    make_vocoder(tokenizer, "istft").save_pretrained(tmp_path)
    loaded, vocoder = Tokenizer.from_pretrained(tmp_path), Vocoder.from_pretrained(tmp_path)
    assert loaded.config == tokenizer.config and loaded.layer_weights == WEIGHTS
    tokens = loaded.encode(speech[0])
    assert torch.equal(tokens.codes, tokenizer.encode(speech[0]).codes)
    tokens.save(tmp_path / "tokens.safetensors")
    again = Tokens.load(tmp_path / "tokens.safetensors")
    assert again.layers == tokens.layers and again.codebooks.names == ("1", "mix.1", "mix.2", "values")
    torch.testing.assert_close(vocoder.decode(again, layers=["mix"]), vocoder.decode(tokens.select(["mix"])))
    one = Tokenizer.from_pretrained(tmp_path, layers=["values"])
    assert one.encoder.num_layers == 3 and one.layer_weights == {"values": {3: 1.0}}
    assert torch.equal(one.encode(speech[0]).codes[:, 0], tokens.codes[:, 3])


def test_weights_are_part_of_the_fingerprint(tokenizer):
    model, centroids = tokenizer.encoder.model, tokenizer.network.centroids()
    other = WEIGHTS | {"mix": {1: 0.5, 4: 0.5}}
    changed = Tokenizer.from_centroids(model, centroids, normalize=True, mixtures=other)
    same = Tokenizer.from_centroids(
        model, centroids, normalize=True, mixtures=WEIGHTS | {"mix": {4: 0.5, 2: 0.25, 1: 0.25}}
    )
    assert changed.fingerprint != tokenizer.fingerprint == same.fingerprint


def test_a_corpus_and_a_vocabulary_hold_named_rows(tokenizer, tmp_path):
    encode_corpus(tokenizer, CLIPS[0].parent, tmp_path / "corpus")
    corpus = read(tmp_path / "corpus", layers=["mix", 1])
    assert corpus.codebooks.columns == ("lmix_s1", "lmix_s2", "l1")
    tokens = tokenizer.encode(CLIPS[0])
    vocabulary = UnitVocabulary.of(tokenizer, layers=["mix"])
    assert torch.equal(vocabulary.from_ids(vocabulary.to_ids(tokens)).codes, tokens.select(["mix"]).codes)


def test_segments_of_a_mixture(tokenizer, speech):
    values = tokenizer.segmented("values", Segmentation(boundary_layer=2))
    assert values.layer_weights == {"values": {3: 1.0}} and values.encode(speech[0]).layers == ("values",)
    with refuses(ConfigError, "boundary_layer", "up to 3"):
        tokenizer.segmented("values", Segmentation(boundary_layer=4))


def test_onnx_gives_the_codes_of_torch(tokenizer, tmp_path):
    pytest.importorskip("onnxruntime")
    export_onnx(tmp_path / "onnx", tokenizer, layers=["mix", 1])
    agreement = compare_onnx(tmp_path / "onnx", tokenizer, None, CLIPS[:1])
    assert agreement.equal + agreement.ties == agreement.codes
    assert json.loads((tmp_path / "onnx" / "semtok.json").read_text())["rows"] == ["mix.1", "mix.2", "1"]


def test_info_and_card_tell_the_weights(tokenizer, run, tmp_path):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    code, out, _ = run("info", tmp_path / "tokenizer")
    assert code == 0 and "mix = 0.250 x 1 + 0.250 x 2 + 0.500 x 4; values = 1.000 x 3" in out
    card = tokenizer.card(tmp_path / "tokenizer", "someone/mixed")
    assert "0.500 x 4" in card.details["Layer weights"]
    code, _, err = run(
        "encode", CLIPS[0], "-o", tmp_path / "t.safetensors", "-c", tmp_path / "tokenizer", "--layers", "mix,1"
    )
    assert code == 0, err
    assert Tokens.load(tmp_path / "t.safetensors").layers == ("mix", 1)


def test_a_study_measures_them(tokenizer, run, tmp_path):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    code, _, err = run("study", tmp_path / "tokenizer", "--audio", CLIPS[0].parent, "-o", tmp_path / "study")
    assert code == 0, err
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    assert any("mix = 0.250 x 1 + 0.250 x 2 + 0.500 x 4" in line for line in study["summary"])
    assert {row["row"] for row in study["tables"]["codes"]["rows"]} >= {"1", "mix.1", "mix.2", "values"}


@pytest.mark.parametrize(
    ("weights", "kind", "words"),
    [
        ({"mix": {1: 0.5, 3: 0.4}}, ConfigError, "must have the sum 1, got 0.9"),
        ({"mix": {1: float("nan"), 3: 0.4}}, ConfigError, "numbers of at least 0, got [nan, 0.4]"),
        ({"mix": {1: -0.5, 3: 1.5}}, ConfigError, "numbers of at least 0"),
        ({"mix": {}}, ConfigError, "needs layers"),
        ({"mix": {"1": 1.0}}, ConfigError, "needs layers, numbered from 0"),
        ({"mix": {ENCODER_LAYERS + 1: 1.0}}, LayerError, "the encoder of mixture 'mix' has no layers [6]"),
        ({"Mix.1": {1: 1.0}}, ConfigError, "needs a name of letters"),
        ({}, LayerError, "the encoder has no layers ['mix']"),
        ({"mix": {1: 1.0}, "other": {1: 1.0}}, ConfigError, "['mix', 'other']"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, kind, words):
    with refuses(kind, words):
        Tokenizer.from_centroids(
            tiny_model("hubert-base", num_hidden_layers=ENCODER_LAYERS),
            {"mix": torch.randn(4, 32)},
            normalize=True,
            mixtures=weights,
        )


@pytest.mark.parametrize(
    ("mixtures", "words"),
    [
        ({"mix": {"1": 0.5, "4": 0.4}, "values": {"3": 1.0}}, "must have the sum 1"),
        ({"mix": {"one": 1.0}, "values": {"3": 1.0}}, "expected numbers as keys"),
        ({"mix": 3, "values": {"3": 1.0}}, "mixtures[mix]"),
        ({"values": {"3": 1.0}}, "each such layer needs its weights"),
        ({"mix": {"9": 1.0}, "values": {"3": 1.0}}, "9"),
    ],
)
def test_a_damaged_config_is_refused(tokenizer, mixtures, words, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["tokenizer"]["mixtures"] = mixtures
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SemtokError) as caught:
        Tokenizer.from_pretrained(tmp_path)
    assert words in str(caught.value)


def test_a_tokenizer_of_numbers_has_no_weights(tmp_path):
    plain = make_tokenizer()
    plain.save_pretrained(tmp_path)
    assert plain.layer_weights == {} and "mixtures" not in (tmp_path / "config.json").read_text()
    with refuses(LayerError, "has no layers ['mix'], only [1, 3, 4]"):
        plain.encode(CLIPS[0], layers=["mix"])
    assert dataclasses.replace(plain.config).mixtures == {}
