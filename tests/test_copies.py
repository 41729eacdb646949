"""Tokenizers and vocoders as objects: pickled, copied, hashed, moved, sent to other processes."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import CLIPS
from datasets.fingerprint import Hasher
from encoders import ENCODERS, tiny_model

from semtok import Tokenizer, Vocoder, load_audio
from semtok.encoder.encoder import Encoder

HASHES = """
import sys
from datasets.fingerprint import Hasher
from semtok import Tokenizer, Vocoder
print(*(Hasher.hash(kind.from_pretrained(sys.argv[1])) for kind in (Tokenizer, Vocoder)))
"""


@pytest.fixture(scope="module")
def clip():
    return load_audio(CLIPS[0])[:16000]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
def test_copies_give_the_same(istft_folder, clip, tmp_path, copied):
    tokenizer, vocoder = Tokenizer.from_pretrained(istft_folder), Vocoder.from_pretrained(istft_folder)
    tokens = tokenizer.encode(clip)
    again = copied(tokenizer)
    assert torch.equal(again.encode(clip).codes, tokens.codes)
    assert (again.codebooks, again.fingerprint) == (tokenizer.codebooks, tokenizer.fingerprint)
    assert torch.equal(copied(vocoder).decode(copied(tokens)), vocoder.decode(tokens))
    again.save_pretrained(tmp_path)
    for name in ("config.json", "centroids.safetensors", "encoder/model.safetensors"):
        if name != "config.json":  # which has a vocoder in the one folder
            assert (tmp_path / name).read_bytes() == (istft_folder / name).read_bytes()


@pytest.mark.parametrize("name", ENCODERS)
def test_every_family_is_pickled(name, clip):
    encoder = Encoder(tiny_model(name), normalize=True)
    arguments = clip[None], torch.tensor([len(clip)]), [0, 3]
    found, _ = pickle.loads(pickle.dumps(encoder))(*arguments)
    assert torch.equal(found, encoder(*arguments)[0])


def test_hashes_for_datasets_are_stable(istft_folder, clip):
    """Equal in another process with another order of sets, and after use: `datasets` then finds what it cached."""
    tokenizer, vocoder = Tokenizer.from_pretrained(istft_folder), Vocoder.from_pretrained(istft_folder)
    before = Hasher.hash(tokenizer), Hasher.hash(vocoder)
    vocoder.decode(tokenizer.encode([clip, clip[:9000]]))
    with tokenizer.stream() as stream:
        stream.push(clip)
    assert (Hasher.hash(tokenizer), Hasher.hash(vocoder)) == before
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", HASHES, str(istft_folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert tuple(run.stdout.split()[-2:]) == before
    fewer = Tokenizer.from_pretrained(istft_folder, layers=[1])
    assert Hasher.hash(fewer) != before[0]


def test_spawned_workers_encode(tokenizer, clip):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        tokens = pool.apply(tokenizer.encode, (clip,))
    assert torch.equal(tokens.codes, tokenizer.encode(clip).codes)


def test_to_moves_and_returns_self(istft_folder, clip):
    tokenizer, vocoder = Tokenizer.from_pretrained(istft_folder), Vocoder.from_pretrained(istft_folder)
    assert tokenizer.to("cpu") is tokenizer and vocoder.to("cpu") is vocoder
    assert tokenizer.to("meta").device.type == vocoder.to("meta").device.type == "meta"
    assert tokenizer.centroids(1).device.type == "meta"
