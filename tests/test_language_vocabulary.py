"""Vocabularies, durations, layouts and packing: every step from tokens to ids has its exact inverse."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from encoders import tiny_model
from helpers import CLIPS, refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from language_data import any_tokens, equal, make_tokens

from semtok import Tokenizer, Tokens
from semtok.errors import CheckpointError, ConfigError, LayerError, TokensError
from semtok.language import UnitVocabulary, deduplicate, pack, repeat
from semtok.language.layouts import LAYOUTS

TWO_FRAMES = [[3, 0], [2, 1], [1, 1]]


def test_ids_are_codes_and_an_offset():
    vocabulary = UnitVocabulary.of(make_tokens(TWO_FRAMES))
    assert vocabulary.names[:9] == (
        "<l7_0>",
        "<l7_1>",
        "<l7_2>",
        "<l7_3>",
        "<l1.1_0>",
        "<l1.1_1>",
        "<l1.1_2>",
        "<l1.2_0>",
        "<l1.2_1>",
    )
    assert vocabulary.names[9:] == ("<|begin_of_speech|>", "<|end_of_speech|>")
    assert (len(vocabulary), vocabulary.offsets, vocabulary.begin_id, vocabulary.end_id) == (11, (0, 4, 7), 9, 10)
    (ids,) = vocabulary.to_ids(make_tokens(TWO_FRAMES))
    assert ids.tolist() == [9, 3, 6, 8, 0, 5, 8, 10]


def test_layouts_of_several_rows():
    tokens = make_tokens(TWO_FRAMES)
    (parallel,) = UnitVocabulary.of(tokens, layout="parallel").to_ids(tokens)
    assert parallel.tolist() == [[9, 3, 0, 10], [9, 6, 5, 10], [9, 8, 8, 10]]
    (delay,) = UnitVocabulary.of(tokens, layout="delay").to_ids(tokens)
    assert delay.tolist() == [[9, 3, 0, 10, 10, 10], [9, 9, 6, 5, 10, 10], [9, 9, 9, 8, 8, 10]]


def test_durations_as_tokens():
    tokens = make_tokens([[1, 1, 1, 1, 1, 0]], sizes={7: (2,)})
    vocabulary = UnitVocabulary.of(tokens, max_duration=3)
    assert vocabulary.names[2:5] == ("<|dur_1|>", "<|dur_2|>", "<|dur_3|>")
    (ids,) = vocabulary.to_ids(tokens)
    assert [vocabulary.names[i] for i in ids] == [
        *("<|begin_of_speech|>", "<l7_1>", "<|dur_3|>", "<l7_1>", "<|dur_2|>", "<l7_0>", "<|dur_1|>"),
        "<|end_of_speech|>",
    ]


@settings(deadline=None, max_examples=60)
@given(any_tokens(), st.sampled_from(sorted(LAYOUTS)), st.sampled_from([0, 1, 3]), st.sampled_from([0, 17]))
def test_ids_go_back_to_the_same_tokens(tokens, layout, max_duration, first_id):
    vocabulary = UnitVocabulary(
        tokens.codebooks, 50.0, "print",
        layout=layout, max_duration=max_duration, first_id=first_id,
    )  # fmt: skip
    sequences = vocabulary.to_ids(tokens)
    assert equal(vocabulary.from_ids(sequences), tokens)
    assert equal(vocabulary.from_ids([sequence.tolist() for sequence in sequences], repair=True), tokens)
    if layout == "flattened" or tokens.lengths.min() > 0:
        assert equal(vocabulary.from_ids([sequence[..., 1:-1] for sequence in sequences]), tokens)


@settings(deadline=None, max_examples=60)
@given(any_tokens(), st.sampled_from(sorted(LAYOUTS)), st.sampled_from([0, 3]), st.data())
def test_any_sequence_is_read_refused_or_repaired(tokens, layout, max_duration, data):
    """What repairing keeps is frames of the sequence, and nothing is left to repair in it."""
    vocabulary = UnitVocabulary.of(tokens, layout=layout, max_duration=max_duration)
    (sequence, *_) = vocabulary.to_ids(tokens)
    changed = sequence.clone().flatten()
    for position in data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=3)):
        changed[position] = data.draw(st.integers(-1, len(vocabulary) + 1))
    changed = changed.view(sequence.shape)
    repaired = vocabulary.from_ids([changed], repair=True)
    Tokens(repaired.codes, repaired.lengths, repaired.layers, 50.0, repaired.codebook_sizes, "print", repaired.stages)
    try:
        read = vocabulary.from_ids([changed])
    except TokensError:
        read = repaired
    assert equal(read, repaired)
    lost = int(tokens.lengths[0] - repaired.lengths[0])
    changes = int((changed != sequence).sum())
    if layout == "flattened":
        assert lost <= changes * max(1, max_duration)


@settings(deadline=None, max_examples=60)
@given(any_tokens())
def test_deduplicated_tokens_repeat_to_the_same(tokens):
    short, durations = deduplicate(tokens)
    assert equal(repeat(short, durations), tokens)
    assert durations.sum(dim=1).equal(tokens.lengths)
    for utterance in short:
        assert (utterance.codes[0, :, 1:] != utterance.codes[0, :, :-1]).any(dim=0).all()


def test_deduplicating_looks_at_all_rows():
    tokens = make_tokens([[3, 3, 3, 0], [2, 2, 1, 1], [1, 1, 1, 1]], [[0], [0], [0]])
    short, durations = deduplicate(tokens)
    assert short.codes[0].tolist() == [[3, 3, 0], [2, 1, 1], [1, 1, 1]]
    assert durations.tolist() == [[2, 1, 1], [1, 0, 0]]
    with refuses(TokensError, "frame 1 of utterance 1 is 3", "expected 0 past the length"):
        repeat(short, torch.tensor([[2, 1, 1], [1, 3, 0]]))
    with refuses(TokensError, "int64 [batch, frames] = [2, 3]", "[2, 2]"):
        repeat(short, durations[:, :2])


def test_illegal_sequences_are_refused_or_repaired_with_their_place(caplog):
    vocabulary = UnitVocabulary.of(make_tokens(TWO_FRAMES))
    # begin, the frame 3 6 8, a stray row 7, a frame, and half of one
    broken = [9, 3, 6, 8, 1, 0, 5, 8, 2, 4, 10]
    with refuses(TokensError, "sequence 1", "id 1 (<l7_1>) at position 4", "id 2 (<l7_2>) at position 8"):
        vocabulary.from_ids([[9, 10], broken])
    with caplog.at_level(logging.WARNING):
        tokens = vocabulary.from_ids([broken], repair=True)
    assert tokens.codes[0].tolist() == TWO_FRAMES
    assert "left out of sequence 0: id 1 (<l7_1>) at position 4" in caplog.text
    with refuses(TokensError, "id 11 (beyond 0 ... 10) at position 1"):
        vocabulary.from_ids([[9, 11, 10]])
    with refuses(TokensError, "int64 [length]", "float32"):
        vocabulary.from_ids([torch.zeros(3)])
    with refuses(TokensError, "no sequences"):
        vocabulary.from_ids([])


def test_an_unfinished_delay_pattern_gives_its_whole_frames():
    tokens = make_tokens(TWO_FRAMES)
    vocabulary = UnitVocabulary.of(tokens, layout="delay")
    unfinished = vocabulary.to_ids(tokens)[0][:, :4]
    with refuses(TokensError, "row 0, step 2"):
        vocabulary.from_ids([unfinished])
    assert vocabulary.from_ids([unfinished], repair=True).codes.tolist() == [[[3], [2], [1]]]


def test_tokens_of_others_are_refused(tokenizer):
    tokens = tokenizer.encode(CLIPS[0])
    vocabulary = UnitVocabulary.of(tokenizer, layers=[4, 1])
    assert vocabulary.layers == (4, 1) and vocabulary.frame_rate == tokens.frame_rate
    assert equal(vocabulary.from_ids(vocabulary.to_ids(tokens)), tokens.select([4, 1]))
    with refuses(LayerError, "this Tokens has no layers [4, 1]"):
        vocabulary.to_ids(tokens.select([3]))
    with refuses(TokensError, "tokenizer print, this vocabulary takes those of"):
        vocabulary.to_ids(make_tokens(TWO_FRAMES))
    with refuses(LayerError, "this Tokenizer has no layers [9]"):
        UnitVocabulary.of(tokenizer, layers=[9])


def test_names_that_cannot_be_are_refused():
    tokens = make_tokens(TWO_FRAMES)
    with refuses(ConfigError, "two tokens would be named '<|s_0|>'", "{row}"):
        UnitVocabulary.of(tokens, template="<|s_{code}|>")
    assert UnitVocabulary.of(tokens, template="<|s_{index}|>").names[8] == "<|s_8|>"
    with refuses(ConfigError, "KeyError('layer')"):
        UnitVocabulary.of(tokens, template="<{layer}_{code}>")
    with refuses(ConfigError, "layout must be one of flattened, parallel, delay", "'tree'"):
        UnitVocabulary.of(tokens, layout="tree")


def test_numbers_of_numpy_are_saved_as_numbers(tmp_path):
    vocabulary = UnitVocabulary.of(make_tokens(TWO_FRAMES), layers=np.array([7]), max_duration=np.int64(4))
    vocabulary.save(tmp_path / "vocabulary.json")
    assert UnitVocabulary.load(tmp_path / "vocabulary.json") == vocabulary


def test_a_vocabulary_is_saved_and_loaded(tmp_path):
    vocabulary = UnitVocabulary.of(make_tokens(TWO_FRAMES), layout="delay", max_duration=2)
    vocabulary.save(tmp_path / "vocabulary.json")
    assert UnitVocabulary.load(tmp_path / "vocabulary.json") == vocabulary
    with refuses(CheckpointError, "no vocabulary", "gone.json"):
        UnitVocabulary.load(tmp_path / "gone.json")
    (tmp_path / "config.json").write_text('{"vocab_size": 3}')
    with refuses(ConfigError, "unknown keys ['vocab_size']"):
        UnitVocabulary.load(tmp_path / "config.json")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(0, 9)), min_size=1), st.integers(1, 7))
def test_packing_leaves_nothing_out(sequences, length):
    if not any(sequences):
        return
    rows = pack([torch.tensor(ids, dtype=torch.int64) for ids in sequences], length, padding_id=9)
    stream = [i for ids in sequences for i in ids]
    labels = np.concatenate(rows["labels"])
    assert all(len(ids) == length for ids in rows["input_ids"])
    assert np.concatenate(rows["input_ids"])[: len(stream)].tolist() == stream
    expected = [-100 if place == 0 else i for ids in sequences for place, i in enumerate(ids)]
    assert labels[: len(stream)].tolist() == expected and set(labels[len(stream) :]) <= {-100}
    assert len(labels) - len(stream) < length
    positions = [i for ids in sequences for i in range(len(ids))]
    assert np.concatenate(rows["position_ids"])[: len(stream)].tolist() == positions


def test_what_cannot_be_packed_is_refused():
    with refuses(TokensError, "no sequences to pack"):
        pack([], 4, padding_id=0)
    with refuses(TokensError, "sequence 0 has shape [2, 3]", "flattened"):
        pack([torch.zeros(2, 3)], 4, padding_id=0)
    with refuses(ConfigError, "at least 1, got 0"):
        pack([torch.zeros(2)], 0, padding_id=0)


def tiny_llama(vocab_size, *, tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocab_size,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                tie_word_embeddings=tied,
            )
        )


@pytest.mark.parametrize(
    "template", ["<l{row}_{code}>", "<|s_{index}|>", "<|speech_{index}|>", "<|audio_{index}|>", "<Un{index}>"]
)
def test_a_text_tokenizer_gets_contiguous_ids(text_tokenizer, template):
    tokens = make_tokens(TWO_FRAMES)
    vocabulary = UnitVocabulary.of(tokens, template=template).extend(text_tokenizer)
    assert vocabulary.first_id == 5 and len(text_tokenizer) == 5 + len(vocabulary)
    (ids,) = vocabulary.to_ids(tokens)
    text = "the cat " + "".join(vocabulary.names[i - 5] for i in ids)
    assert text_tokenizer(text)["input_ids"] == [1, 2, *ids.tolist()]
    assert UnitVocabulary.of(tokens, template=template).located_in(text_tokenizer) == vocabulary
    with refuses(TokensError, "already has 11 of 11 tokens", "with id 5", "located_in"):
        UnitVocabulary.of(tokens, template=template).extend(text_tokenizer)


def test_ids_that_are_not_contiguous_are_refused(text_tokenizer):
    vocabulary = UnitVocabulary.of(make_tokens(TWO_FRAMES))
    text_tokenizer.add_tokens([vocabulary.names[1], vocabulary.names[0], *vocabulary.names[2:]])
    with refuses(TokensError, "not contiguous: '<l7_0>' has 6", "'<l7_1>' must have 7, but has 5"):
        vocabulary.located_in(text_tokenizer)


@torch.inference_mode()
def test_a_model_reads_packed_sequences_each_by_itself():
    """Also the rest of one that began in the row before."""
    model = tiny_llama(10, tied=True).eval()
    one, other = torch.tensor([1, 2, 3, 4, 5, 6]), torch.tensor([7, 8, 9])
    rows = pack([one, other], 5, padding_id=0).with_format("torch")
    first, second = model(**rows[:], use_cache=False).logits
    assert torch.allclose(first, model(one[None, :5]).logits[0], atol=1e-5)
    assert torch.allclose(second[1:4], model(other[None]).logits[0], atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_models_embeddings_grow_from_the_centroids(text_tokenizer, tokenizer, tied):
    model = tiny_llama(8, tied=tied)  # three rows more than the tokenizer has tokens
    before = model.get_input_embeddings().weight[:5].clone()
    vocabulary = UnitVocabulary.of(tokenizer, layers=[4]).extend(text_tokenizer, model, centroids_of=tokenizer)
    for embeddings in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        assert len(embeddings) == vocabulary.end_id + 1
    weight = model.get_input_embeddings().weight
    assert weight[:5].equal(before)
    new = weight[vocabulary.first_id : vocabulary.begin_id]
    assert torch.allclose(new.mean(dim=0), before.mean(dim=0), atol=1e-5)
    assert torch.allclose(new.std(dim=0), before.std(dim=0), rtol=1e-3)
    # centroids that are near each other start as embeddings that are
    distances = torch.cdist(tokenizer.centroids(4), tokenizer.centroids(4)).flatten()
    assert torch.corrcoef(torch.stack([distances, torch.cdist(new, new).flatten()]))[0, 1] > 0.6


def test_embeddings_of_each_stage_grow_from_its_own_centroids(text_tokenizer):
    """Of the first stage the centroids 0 ... 9 and 10 ... 19 are far apart, of the second the even and the odd ones."""
    generator = torch.Generator().manual_seed(0)
    sides = [torch.arange(20) < 10, torch.arange(20) % 2 == 0]
    centroids = [torch.randn(20, 32, generator=generator) + 10 * torch.where(side, 1, -1)[:, None] for side in sides]
    tokenizer = Tokenizer.from_centroids(tiny_model("hubert-base"), {1: centroids}, normalize=True)
    model = tiny_llama(8, tied=True)
    vocabulary = UnitVocabulary.of(tokenizer).extend(text_tokenizer, model, centroids_of=tokenizer)
    embeddings = model.get_input_embeddings().weight[vocabulary.first_id : vocabulary.begin_id].split(20)
    for weights, side in zip(embeddings, sides, strict=True):
        distances, together = torch.cdist(weights, weights), side[:, None] == side
        assert distances[together].max() < distances[~together].min()


def test_centroids_of_another_tokenizer_are_refused(text_tokenizer, tokenizer):
    with refuses(TokensError, "centroids_of is tokenizer", "this vocabulary is of print"):
        UnitVocabulary.of(make_tokens(TWO_FRAMES)).extend(
            text_tokenizer, tiny_llama(8, tied=True), centroids_of=tokenizer
        )
