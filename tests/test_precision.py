"""Tokens and speech do not depend on the caller's autocast or precision of products, and both stay as they are."""

from __future__ import annotations

import operator
import threading

import pytest
import torch
from helpers import CLIPS

from semtok import Tokenizer, Vocoder, load_audio
from semtok.networks.precision import exact_float32
from semtok.streaming import join_tokens

CPU = torch.device("cpu")
NEWER = hasattr(torch.backends.cudnn, "conv")


@pytest.fixture(scope="module")
def tiny():
    return Tokenizer.from_pretrained("tiny"), Vocoder.from_pretrained("tiny")


def test_autocast_changes_nothing(tiny):
    tokenizer, vocoder = tiny
    waveform = load_audio(CLIPS[0])[:32000]

    def results():
        tokens = tokenizer.encode(waveform)
        with tokenizer.stream() as stream:
            streamed = join_tokens([stream.push(waveform), stream.flush()])
        features = tokenizer.features(waveform)
        return [tokens.codes, streamed.codes, features, tokenizer.margins(features), vocoder.decode(tokens)]

    expected = results()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results()
        assert torch.is_autocast_enabled("cpu")
    for left, right in zip(found, expected, strict=True):
        assert left.dtype == right.dtype and torch.equal(left, right)


def settings():
    """What torch has since 2.9, None before."""
    names = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul")
    return [operator.attrgetter(name)(torch.backends).fp32_precision if NEWER else None for name in names]


@pytest.fixture
def restored():
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_are_exact_within_and_as_they_were_after(restored, precision):
    torch.set_float32_matmul_precision(precision)
    before = settings()
    with exact_float32(CPU), exact_float32(CPU):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
    assert settings() == before
    assert torch.get_float32_matmul_precision() == precision and torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not NEWER, reason="since torch 2.9")
def test_the_newer_settings_are_restored_too(restored):
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    before = settings()
    with exact_float32(CPU):
        assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
    assert settings() == before


def test_threads_that_overlap_restore_what_was_before_both(restored):
    torch.set_float32_matmul_precision("high")
    entered, leave = threading.Event(), threading.Event()

    def overlap():
        with exact_float32(CPU):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=overlap)
    with exact_float32(CPU):
        thread.start()
        assert entered.wait(10)
    assert torch.get_float32_matmul_precision() == "highest"
    leave.set()
    thread.join()
    assert torch.get_float32_matmul_precision() == "high"
