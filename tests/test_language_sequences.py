"""Byte-pair encoding over units, and speech between words of text."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from helpers import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from language_data import equal, make_text_tokenizer, make_tokens

from semtok import Tokens
from semtok.errors import CheckpointError, ConfigError, TextError, TokensError
from semtok.language import UnitBPE, UnitVocabulary, Word, draw_spans, interleave, separate

ONE_ROW = make_tokens([[0, 1, 2, 0, 1, 2, 0, 1, 3]], sizes={7: (5,)})
FREQUENT = make_tokens([[0, 1, 2, 3, 0, 1, 2, 0, 1, 0]], sizes={7: (5,)})


@pytest.fixture(scope="module")
def bpe() -> UnitBPE:
    vocabulary = UnitVocabulary.of(ONE_ROW)
    return UnitBPE.train(vocabulary, vocabulary.to_ids(FREQUENT), len(vocabulary) + 2)


def test_frequent_pairs_become_one_id(bpe):
    """0 1 is the most frequent pair, 0 1 2 the next; 4 never occurred and still has an id."""
    assert len(bpe) == 7 + 2
    (ids,) = bpe.vocabulary.to_ids(FREQUENT)
    shorter = bpe.encode(ids)
    units = [bpe.decode(shorter[i : i + 1]).tolist() for i in range(len(shorter))]
    assert units == [[5], [0, 1, 2], [3], [0, 1, 2], [0, 1], [0], [6]]
    assert bpe.vocabulary.from_ids([bpe.decode(shorter)]).codes.equal(FREQUENT.codes)
    assert bpe.decode(bpe.encode(torch.tensor([5, 4, 4, 6]))).tolist() == [5, 4, 4, 6]


def test_units_that_come_after_the_tokens_of_a_text_model_are_decoded_to_their_own_ids():
    vocabulary = dataclasses.replace(UnitVocabulary.of(ONE_ROW), first_id=100)
    (ids,) = vocabulary.to_ids(FREQUENT)
    bpe = UnitBPE.train(vocabulary, [ids], len(vocabulary) + 2)
    assert ids.min() >= 100 and len(bpe.encode(ids)) < len(ids)
    assert bpe.decode(bpe.encode(ids)).equal(ids)
    assert bpe.vocabulary.from_ids([bpe.decode(bpe.encode(ids))]).codes.equal(FREQUENT.codes)


@settings(deadline=None, max_examples=50)
@given(ids=st.lists(st.integers(0, 6), max_size=20))
def test_byte_pair_encoding_loses_nothing(bpe, ids):
    ids = torch.tensor(ids, dtype=torch.int64)
    assert bpe.decode(bpe.encode(ids)).equal(ids)


def test_transformers_loads_what_was_saved(bpe, tmp_path):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    bpe.save_pretrained(tmp_path)
    (ids,) = bpe.vocabulary.to_ids(ONE_ROW)
    assert UnitBPE.from_pretrained(tmp_path).encode(ids).equal(bpe.encode(ids))
    for kind in (PreTrainedTokenizerFast, AutoTokenizer):
        loaded = kind.from_pretrained(tmp_path)
        assert loaded.bos_token == "<|begin_of_speech|>" and loaded.eos_token_id == int(bpe.encode(ids[-1:]))
        assert len(loaded) == len(bpe)


def test_wrong_encodings_are_refused(bpe, tmp_path):
    with refuses(TokensError, "0 ... 6", "[1] in 7 ... 7"):
        bpe.encode(torch.tensor([7]))
    with refuses(TokensError, "0 ... 8", "got 3 to 9"):
        bpe.decode(torch.tensor([3, 9]))
    with refuses(ConfigError, "layout flattened", "a size of 6"):
        UnitBPE.train(bpe.vocabulary, [], 6)
    with refuses(CheckpointError, "no vocabulary"):
        UnitBPE.from_pretrained(tmp_path)
    with refuses(CheckpointError, "no byte-pair encoding of the vocabulary's units"):
        UnitBPE(UnitVocabulary.of(make_tokens([[0]], sizes={7: (2,)})), bpe.hf_tokenizer)


# At 50 frames a second: a pause, "the" in frames 2 and 3, "cat" in 4, a pause, "sat" in 6 and 7, a pause.
WORDS = [Word("the", 0.04, 0.04), Word("cat", 0.08, 0.02), Word("sat", 0.12, 0.04)]


def test_words_are_speech_or_text(text_tokenizer):
    vocabulary = UnitVocabulary.of(ONE_ROW).extend(text_tokenizer)
    ids = interleave(ONE_ROW, WORDS, [False, True, False], vocabulary, text_tokenizer)
    begin, end = vocabulary.begin_id, vocabulary.end_id
    # the pause after "cat" goes with it
    assert ids.tolist() == [1, begin, 5 + 1, 5 + 2, end, 3]
    text, speech, last = separate(ids, vocabulary, text_tokenizer)
    assert (text, last) == ("the", "sat") and equal(speech, ONE_ROW.cut(4, 6))
    # the pauses on either side of "sat" go with it
    *_, speech = separate(
        interleave(ONE_ROW, WORDS, [False, False, True], vocabulary, text_tokenizer), vocabulary, text_tokenizer
    )
    assert equal(speech, ONE_ROW.cut(5, 9))

    assert interleave(ONE_ROW, WORDS, [True] * 3, vocabulary, text_tokenizer).equal(vocabulary.to_ids(ONE_ROW)[0])
    assert interleave(ONE_ROW, WORDS, [False] * 3, vocabulary, text_tokenizer).tolist() == [1, 2, 3]
    first, second = separate([1, 2, begin, 5, end], vocabulary, text_tokenizer)
    assert first == "the cat" and second.codes.tolist() == [[[0]]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 2))
def test_speech_between_text_comes_back(spoken, max_duration):
    text_tokenizer = make_text_tokenizer()
    vocabulary = UnitVocabulary.of(ONE_ROW, max_duration=max_duration).extend(text_tokenizer)
    ids = interleave(ONE_ROW, WORDS, spoken, vocabulary, text_tokenizer)
    spans = separate(ids, vocabulary, text_tokenizer)
    assert " ".join(span for span in spans if isinstance(span, str)).split() == [
        word.text for word, speech in zip(WORDS, spoken, strict=True) if not speech
    ]
    speech = [span for span in spans if isinstance(span, Tokens)]
    assert len(speech) == sum(kind and (not number or not spoken[number - 1]) for number, kind in enumerate(spoken))
    if all(spoken):
        assert equal(speech[0], ONE_ROW)


def test_what_a_model_writes_is_separated(text_tokenizer):
    vocabulary = UnitVocabulary.of(ONE_ROW).extend(text_tokenizer)
    begin, end = vocabulary.begin_id, vocabulary.end_id
    spans = separate([begin, 5, end, begin, 6, 6], vocabulary, text_tokenizer)
    assert [span.codes.flatten().tolist() for span in spans] == [[0], [1, 1]]
    with refuses(TokensError, "out of place"):
        separate([begin, 5, begin, 6, end], vocabulary, text_tokenizer)
    (span,) = separate([begin, 5, begin, 6, end], vocabulary, text_tokenizer, repair=True)
    assert span.codes.tolist() == [[[0, 1]]]
    assert separate([], vocabulary, text_tokenizer) == []


def test_words_that_cannot_be_are_refused(text_tokenizer):
    vocabulary = UnitVocabulary.of(ONE_ROW).extend(text_tokenizer)
    rest = vocabulary, text_tokenizer
    with refuses(TextError, "got 3 and 2"):
        interleave(ONE_ROW, WORDS, [True, False], *rest)
    with refuses(TextError, "word 1, 'the'", "after a word that ends at 0.16 s"):
        interleave(ONE_ROW, WORDS[::-2], [True, False], *rest)
    with refuses(TextError, "word 0, 'down'", "in an utterance of 0.18 s"):
        interleave(ONE_ROW, [Word("down", 1, 1)], [True], *rest)
    with refuses(TokensError, "one utterance, got 2"):
        interleave(Tokens.cat([ONE_ROW, ONE_ROW]), WORDS, [True] * 3, *rest)


def test_spans_have_the_mean_length_asked_for():
    generator = np.random.default_rng(0)
    drawn = [draw_spans(200, 5, generator) for _ in range(50)]
    changes = np.mean([np.mean(np.diff(spans) != 0) for spans in drawn])
    assert 0.18 < changes < 0.22
    assert 0.2 < np.mean([spans[0] for spans in drawn]) < 0.8
    assert draw_spans(0, 5, generator) == []
    with refuses(ConfigError, "at least 1"):
        draw_spans(3, 0.5, generator)
