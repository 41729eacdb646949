"""Residual stages: each quantizes what those before it left over, and their codes stand together as rows of a layer."""

from __future__ import annotations

import pytest
import torch
from checkpoints import make_tokenizer, make_vocoder
from encoders import tiny_model
from helpers import CLIPS

from semtok import Tokenizer, Tokens, Vocoder, load_audio
from semtok.codebooks.codebooks import Codebooks
from semtok.errors import CheckpointError, ConfigError, LayerError, TokensError
from semtok.networks.selector import LayerSelector

STAGES = {1: (40, 20, 10), 3: (30,), 4: (12, 8)}
NAMES = ("1.1", "1.2", "1.3", "3", "4.1", "4.2")


@pytest.fixture(scope="module")
def staged() -> Tokenizer:
    """Codebooks of speech frames and, for the later stages, of what the stages before left of them."""
    plain = make_tokenizer()
    frames = plain.features(load_audio(CLIPS[1]))[0]
    generator = torch.Generator().manual_seed(1)
    centroids: dict[int, list[torch.Tensor]] = {}
    for layer, features in zip(STAGES, frames, strict=True):
        left = features
        centroids[layer] = []
        for size in STAGES[layer]:
            # Half-way between two frames, as a centroid that is a frame would leave nothing of it.
            points = left[torch.randint(len(left), (2, size), generator=generator)].mean(0)
            left = left - points[torch.cdist(left, points).argmin(1)]
            centroids[layer].append(points)
    return Tokenizer.from_centroids(tiny_model("hubert-base", num_hidden_layers=5), centroids, normalize=True)


def test_each_stage_quantizes_what_the_others_left(staged):
    assert (staged.layers, staged.stages) == ((1, 3, 4), (3, 1, 2))
    assert staged.codebook_sizes == (40, 20, 10, 30, 12, 8)
    tokens, features = staged.encode(CLIPS[0]), staged.features(CLIPS[0])[0]
    assert tokens.names == NAMES and tokens.codes.shape[1] == 6
    row = 0
    for position, layer in enumerate(staged.layers):
        left = features[position]
        for stage in range(1, staged.stages[position] + 1):
            points = staged.centroids(layer, stage)
            torch.testing.assert_close(tokens.codes[0, row], torch.cdist(left, points).argmin(1))
            left, row = left - points[tokens.codes[0, row]], row + 1
        torch.testing.assert_close(staged.embed(tokens)[0, position], features[position] - left)


def test_layers_are_chosen_with_all_their_stages(staged):
    tokens = staged.encode(CLIPS[:2])
    few = tokens.select([4, 1])
    assert few.layers == (4, 1) and few.stages == (2, 3) and few.names == ("4.1", "4.2", "1.1", "1.2", "1.3")
    assert few.codebook_sizes == (12, 8, 40, 20, 10)
    assert torch.equal(few.codes, tokens.codes[:, [4, 5, 0, 1, 2]])
    assert torch.equal(staged.encode(CLIPS[:2], layers=[4, 1]).codes, few.codes)
    assert torch.equal(staged.embed(few), staged.embed(tokens)[:, [2, 0]])


@pytest.mark.parametrize("generator", ["istft", "hifigan"])
def test_a_checkpoint_keeps_the_stages(staged, generator, tmp_path):
    vocoder = make_vocoder(staged, generator)
    staged.save_pretrained(tmp_path / "made")
    vocoder.save_pretrained(tmp_path / "made")
    loaded, again = Tokenizer.from_pretrained(tmp_path / "made"), Vocoder.from_pretrained(tmp_path / "made")
    tokens = staged.encode(CLIPS[0])
    assert loaded.fingerprint == staged.fingerprint and loaded.stages == staged.stages
    assert torch.equal(loaded.encode(CLIPS[0]).codes, tokens.codes)
    for layers in ([1], [3], [1, 4], None):
        assert torch.equal(again.decode(tokens, layers=layers), vocoder.decode(tokens, layers=layers))
    assert not torch.equal(again.decode(tokens, layers=[1]), again.decode(tokens, layers=[4]))
    few = Tokenizer.from_pretrained(tmp_path / "made", layers=[4, 3])
    assert (few.layers, few.stages, few.codebook_sizes) == ((4, 3), (2, 1), (12, 8, 30))
    assert torch.equal(few.encode(CLIPS[0]).codes, tokens.codes[:, [4, 5, 3]])
    tokens.save(tmp_path / "tokens.safetensors")
    assert Tokens.load(tmp_path / "tokens.safetensors").names == NAMES


def test_a_stage_more_is_another_tokenizer(staged):
    model = tiny_model("hubert-base", num_hidden_layers=5)
    fewer = Tokenizer.from_centroids(model, {1: staged.centroids(1)}, normalize=True)
    more = Tokenizer.from_centroids(model, {1: [staged.centroids(1), staged.centroids(1, 2)]}, normalize=True)
    assert fewer.fingerprint != more.fingerprint
    assert torch.equal(fewer.encode(CLIPS[0]).codes[:, 0], more.encode(CLIPS[0]).codes[:, 0])


def test_the_embeddings_of_a_layer_are_summed():
    torch.manual_seed(0)
    selector = LayerSelector(Codebooks({1: [5, 4], 2: [3]}), dim=6, attention_dim=4)
    codes = torch.tensor([[[1, 4], [0, 3], [2, 0]]])
    first, second, third = (table(codes[:, row]) for row, table in enumerate(selector.embeddings))
    fused, weights = selector(codes)
    assert weights.shape == (1, 2, 2)
    torch.testing.assert_close(fused, weights[:, 0, :, None] * (first + second) + weights[:, 1, :, None] * third)
    torch.testing.assert_close(selector(codes[:, 2:], [1])[0], third)


def test_stages_that_do_not_fit(staged):
    tokens = staged.encode(CLIPS[0])
    with pytest.raises(LayerError, match="layer 3 has 1 stages, numbered from 1; asked for stage 2"):
        staged.centroids(3, 2)
    with pytest.raises(TokensError, match="need 3 codebook_sizes"):
        Tokens(tokens.codes, tokens.lengths, tokens.layers, 50.0, tokens.codebook_sizes, tokens.fingerprint)
    other = Tokens(tokens.codes, tokens.lengths, (1, 3, 4), 50.0, tokens.codebook_sizes, tokens.fingerprint, (2, 2, 2))
    with pytest.raises(TokensError, match="this tokenizer has"):
        staged.embed(other)
    with pytest.raises(CheckpointError, match=r"centroids of layer 1 must have shapes \[\[40, 32\]"):
        Tokenizer(staged.config, staged.encoder, {1: [staged.centroids(1)]})
    with pytest.raises(ConfigError, match="layers \\[1\\] with stages \\[2\\] need 2 codebook_sizes"):
        Codebooks.from_rows((1,), (40,), (2,))
